package drivers;

import com.datastax.oss.driver.api.core.CqlSession;
import com.datastax.oss.driver.api.core.config.DefaultDriverOption;
import com.datastax.oss.driver.api.core.cql.AsyncResultSet;
import com.datastax.oss.driver.api.core.cql.BoundStatement;
import com.datastax.oss.driver.api.core.cql.PreparedStatement;
import com.datastax.oss.driver.api.core.cql.SimpleStatement;
import java.nio.ByteBuffer;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Random;
import java.util.concurrent.CompletionStage;

/** Versions, compression, many requests, many connections, idle ones and broken ones. */
final class ConnectionChecks {
  private ConnectionChecks() {}

  static void run(Checks checks, CqlSession session) {
    session.execute("CREATE TABLE blobs (id int PRIMARY KEY, v blob)");

    checks.check("speaks v3", () -> roundTrip(checks, "V3", "none"));
    checks.check("speaks v4", () -> roundTrip(checks, "V4", "none"));
    checks.check("speaks v4 with LZ4", () -> roundTrip(checks, "V4", "lz4"));
    checks.check("speaks v4 with Snappy", () -> roundTrip(checks, "V4", "snappy"));
    checks.check("speaks v5 with LZ4", () -> roundTrip(checks, "V5", "lz4"));

    checks.check("has 512 requests in flight on one connection", () -> {
      try (CqlSession one = checks.open(options -> options.withInt(DefaultDriverOption.CONNECTION_POOL_LOCAL_SIZE, 1))) {
        PreparedStatement insert = one.prepare("INSERT INTO items (id, w) VALUES (?, ?)");
        PreparedStatement select = one.prepare("SELECT w FROM items WHERE id = ?");
        List<BoundStatement> writes = new ArrayList<>();
        for (int id = 10_000; id < 10_512; id++) writes.add(insert.bind(id, "w" + id));
        all(one, writes);
        List<BoundStatement> reads = new ArrayList<>();
        for (int id = 10_000; id < 10_512; id++) reads.add(select.bind(id));
        int right = 0;
        int id = 10_000;
        for (AsyncResultSet result : all(one, reads)) if (("w" + id++).equals(result.one().getString(0))) right++;
        return right;
      }
    });

    checks.check("has 200 connections", () -> {
      try (CqlSession wide = checks.open(options -> options.withInt(DefaultDriverOption.CONNECTION_POOL_LOCAL_SIZE, 200))) {
        Checks.eventually("200 connections are open", () -> TopologyChecks.onlyNode(wide).getOpenConnections() >= 201);
        PreparedStatement select = wide.prepare("SELECT w FROM items WHERE id = ?");
        List<BoundStatement> reads = new ArrayList<>();
        for (int count = 0; count < 1000; count++) reads.add(select.bind(10_000 + count % 512));
        return all(wide, reads).size();
      }
    });

    checks.check("keeps idle connections open with heartbeats", () -> {
      try (CqlSession idle = checks.open(options -> options.withDuration(DefaultDriverOption.HEARTBEAT_INTERVAL, Duration.ofMillis(500)))) {
        // It is the idling itself that is tested.
        Thread.sleep(2500);
        Checks.same(TopologyChecks.onlyNode(idle).getOpenConnections(), 2);
        Checks.same(TopologyChecks.onlyNode(idle).isReconnecting(), false);
        return idle.execute("SELECT v FROM items WHERE id = 10").one().getString(0);
      }
    });

    checks.checkProxy("does not notice that a cluster has forgotten a statement", () -> {
      session.execute("CREATE TABLE forgotten (id int PRIMARY KEY, v text)");
      PreparedStatement insert = session.prepare("INSERT INTO forgotten (id, v) VALUES (?, ?)");
      PreparedStatement select = session.prepare("SELECT v FROM forgotten WHERE id = ?");
      session.execute(insert.bind(1, "known"));
      checks.ask("forget on target");
      session.execute(insert.bind(2, "forgotten by the target"));
      checks.ask("forget on origin");
      session.execute(insert.bind(3, "forgotten by the origin"));
      return session.execute(select.bind(3)).one().getString(0);
    });

    checks.checkProxy("retries what is idempotent when connections break", () -> {
      PreparedStatement insert = session.prepare("INSERT INTO items (id, w) VALUES (?, ?)");
      List<BoundStatement> lost = new ArrayList<>();
      checks.ask("break origin");
      for (int id = 20_000; id < 20_050; id++) {
        BoundStatement write = insert.bind(id, "kept").setIdempotent(true);
        try {
          session.execute(write);
        } catch (RuntimeException e) {
          lost.add(write);
        }
      }
      for (BoundStatement write : lost) {
        Checks.eventually("the write is taken", () -> {
          try {
            return session.execute(write) != null;
          } catch (RuntimeException e) {
            return false;
          }
        });
      }
      return true;
    });

    checks.checkProxy("goes on after a restart of the proxy, with the statements that it has prepared", () -> {
      PreparedStatement insert = session.prepare("INSERT INTO items (id, w) VALUES (?, ?)");
      PreparedStatement select = session.prepare("SELECT w FROM items WHERE id = ?");
      checks.ask("restart proxy");
      Checks.eventually("a write works", () -> {
        try {
          return session.execute(insert.bind(30_000, "after the restart")) != null;
        } catch (RuntimeException e) {
          return false;
        }
      });
      return session.execute(select.bind(30_000)).one().getString(0);
    });
  }

  /** Small and large values both ways; random ones, and those that compress well. */
  private static Object roundTrip(Checks checks, String version, String compression) {
    try (CqlSession session =
        checks.open(options -> options
            .withString(DefaultDriverOption.PROTOCOL_VERSION, version)
            .withString(DefaultDriverOption.PROTOCOL_COMPRESSION, compression))) {
      PreparedStatement insert = session.prepare("INSERT INTO blobs (id, v) VALUES (?, ?)");
      PreparedStatement select = session.prepare("SELECT v FROM blobs WHERE id = ?");
      Random random = new Random(1);
      int id = 0;
      for (int size : new int[] {0, 1, 1000, 100_000, 131_071, 300_000, 1_000_000}) {
        for (boolean isRandom : new boolean[] {false, true}) {
          byte[] bytes = new byte[size];
          if (isRandom) random.nextBytes(bytes);
          session.execute(insert.bind(++id, ByteBuffer.wrap(bytes)));
          ByteBuffer read = session.execute(select.bind(id)).one().getByteBuffer(0);
          Checks.same(read, ByteBuffer.wrap(bytes));
        }
      }
      int bytes = 0;
      for (var row : session.execute(SimpleStatement.newInstance("SELECT v FROM blobs").setPageSize(5))) bytes += row.getByteBuffer(0).remaining();
      return session.getContext().getProtocolVersion() + " " + bytes;
    }
  }

  private static List<AsyncResultSet> all(CqlSession session, List<BoundStatement> statements) throws Exception {
    List<CompletionStage<AsyncResultSet>> pending = new ArrayList<>();
    for (BoundStatement statement : statements) pending.add(session.executeAsync(statement));
    List<AsyncResultSet> results = new ArrayList<>();
    for (CompletionStage<AsyncResultSet> one : pending) results.add(one.toCompletableFuture().get());
    return results;
  }
}
