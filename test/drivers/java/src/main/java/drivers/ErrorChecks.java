package drivers;

import com.datastax.oss.driver.api.core.AllNodesFailedException;
import com.datastax.oss.driver.api.core.CqlSession;
import com.datastax.oss.driver.api.core.DefaultConsistencyLevel;
import com.datastax.oss.driver.api.core.cql.BatchStatement;
import com.datastax.oss.driver.api.core.cql.DefaultBatchType;
import com.datastax.oss.driver.api.core.cql.PreparedStatement;
import com.datastax.oss.driver.api.core.cql.SimpleStatement;
import com.datastax.oss.driver.api.core.cql.Statement;
import com.datastax.oss.driver.api.core.servererrors.ReadTimeoutException;
import com.datastax.oss.driver.api.core.servererrors.UnavailableException;
import com.datastax.oss.driver.api.core.servererrors.WriteTimeoutException;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.CompletionStage;

/** Errors come as the driver's own exceptions, with what the server says. */
final class ErrorChecks {
  private ErrorChecks() {}

  static void run(Checks checks, CqlSession session) {
    checks.check("gets the server's errors as its own exceptions", () -> {
      List<String> seen = new ArrayList<>();
      for (String cql :
          List.of(
              "SELEC",
              "INSERT INTO items (id, v VALUES (1, 'x')",
              "SELECT nothing FROM items",
              "SELECT * FROM no_such_table",
              "SELECT * FROM items WHERE v = 'x'",
              "INSERT INTO items (id, v) VALUES ('text', 'x')",
              "INSERT INTO no_such_table (id) VALUES (1)",
              "INSERT INTO items (v) VALUES ('x')",
              "UPDATE counts SET c = 1 WHERE id = 1",
              "UPDATE items SET v = 'x' WHERE id = 1 IF no_such_column = 1",
              "USE no_such_keyspace",
              "CREATE TABLE items (id int PRIMARY KEY)",
              "CREATE KEYSPACE " + checks.keyspace + " WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 1}",
              "CREATE TYPE address (a int)",
              "CREATE KEYSPACE bad_one WITH replication = {'class': 'NoSuchStrategy'}",
              "CREATE TABLE bad_one (id int)",
              "DROP TABLE no_such_table",
              "ALTER TABLE items ADD v text",
              "TRUNCATE no_such_table",
              "GRANT SELECT ON KEYSPACE no_such_keyspace TO cassandra",
              "INSERT INTO items (id, v) VALUES (1, no_such_function())")) {
        seen.add(cql + " -> " + failure(() -> session.execute(cql)));
      }
      for (String cql : List.of("SELEC", "SELECT nothing FROM items", "INSERT INTO no_such_table (id) VALUES (?)")) {
        seen.add("prepare " + cql + " -> " + failure(() -> session.prepare(cql)));
      }
      PreparedStatement counter = session.prepare("UPDATE counts SET c = c + 1 WHERE id = ?");
      seen.add("batch -> " + failure(() -> session.execute(
          BatchStatement.newInstance(DefaultBatchType.LOGGED, counter.bind(1), SimpleStatement.newInstance("INSERT INTO items (id) VALUES (1)")))));
      seen.add("large batch -> " + failure(() -> session.execute(
          BatchStatement.newInstance(DefaultBatchType.LOGGED, SimpleStatement.newInstance("INSERT INTO items (id, v) VALUES (1, ?)", "x".repeat(100_000))))));
      seen.add("values -> " + failure(() -> session.execute(SimpleStatement.newInstance("INSERT INTO items (id, v) VALUES (?, ?)", 1))));
      return seen;
    });

    checks.check("is refused a function whose type does not fit", () -> {
      String cql = "INSERT INTO items (id, v) VALUES (1, now())";
      // The words may differ, since the server sees a value.
      return List.of(failure(() -> session.execute(cql)).split(":")[0], failure(() -> session.prepare(cql)).split(":")[0]);
    });

    checks.check("is told when too few replicas are alive", () -> {
      List<String> seen = new ArrayList<>();
      for (String cql : List.of("SELECT * FROM items WHERE id = 1", "INSERT INTO items (id, v) VALUES (1, 'x')")) {
        try {
          session.execute(SimpleStatement.newInstance(cql).setConsistencyLevel(DefaultConsistencyLevel.THREE));
          seen.add("done");
        } catch (AllNodesFailedException e) {
          // The driver tries each node in turn.
          UnavailableException cause = (UnavailableException) e.getAllErrors().values().iterator().next().get(0);
          seen.add(cause.getConsistencyLevel() + " " + cause.getRequired() + " " + cause.getAlive());
        }
      }
      return seen;
    });

    checks.check("is refused what its role may not do", () -> {
      List<String> seen = new ArrayList<>();
      try (CqlSession reader = checks.open("driver_reader", "reader", checks.keyspace, options -> {})) {
        seen.add(failure(() -> reader.execute("SELECT * FROM items WHERE id = 1").one()));
        for (String cql : List.of("INSERT INTO items (id, v) VALUES (1000, 'forbidden')", "TRUNCATE items", "CREATE TABLE forbidden (id int PRIMARY KEY)",
            "SELECT * FROM system_auth.roles", "CREATE ROLE intruder", "BEGIN BATCH INSERT INTO items (id, v) VALUES (1000, 'forbidden') APPLY BATCH")) {
          seen.add(cql + " -> " + failure(() -> reader.execute(cql)));
        }
        seen.add("prepared -> " + failure(() -> reader.execute(reader.prepare("INSERT INTO items (id, v) VALUES (?, ?)").bind(1000, "forbidden"))));
      }
      seen.add(StatementChecks.formatted(session, "SELECT * FROM items WHERE id = 1000").toString());
      return seen;
    });

    checks.check("is refused with a wrong password", () -> {
      try (CqlSession wrong = checks.open(checks.username, "wrong", null, options -> {})) {
        return "logged in";
      } catch (AllNodesFailedException e) {
        Throwable cause = e.getAllErrors().values().iterator().next().get(0);
        String message = String.valueOf(cause.getMessage());
        return cause.getClass().getSimpleName() + " " + message.contains("incorrect");
      }
    });

    checks.checkProxy("gets time-outs as its own exceptions when a cluster falls silent", () -> {
      PreparedStatement select = session.prepare("SELECT * FROM items WHERE id = ?");
      PreparedStatement insert = session.prepare("INSERT INTO items (id, v) VALUES (?, ?)");
      checks.ask("mute origin");
      List<Class<?>> expected = List.of(ReadTimeoutException.class, ReadTimeoutException.class, WriteTimeoutException.class, WriteTimeoutException.class);
      List<CompletionStage<?>> pending = new ArrayList<>();
      for (Statement<?> one : List.of(select.bind(1), SimpleStatement.newInstance("SELECT * FROM items WHERE id = 1"), insert.bind(2000, "x"),
          BatchStatement.newInstance(DefaultBatchType.LOGGED, insert.bind(2001, "x")))) {
        pending.add(session.executeAsync(one.setIdempotent(false)));
      }
      List<String> seen = new ArrayList<>();
      for (int index = 0; index < expected.size(); index++) {
        try {
          pending.get(index).toCompletableFuture().get();
          seen.add("done");
        } catch (java.util.concurrent.ExecutionException e) {
          if (!expected.get(index).isInstance(e.getCause())) seen.add(String.valueOf(e.getCause()));
        }
      }
      checks.ask("unmute origin");
      Checks.same(seen, List.of());
      Checks.eventually("reads work again", () -> {
        try {
          return session.execute(select.bind(1)) != null;
        } catch (RuntimeException e) {
          return false;
        }
      });
      return true;
    });
  }

  private static String failure(Checks.Check statement) {
    try {
      statement.run();
      return "done";
    } catch (Exception e) {
      return e.getClass().getSimpleName() + ": " + e.getMessage();
    }
  }
}
