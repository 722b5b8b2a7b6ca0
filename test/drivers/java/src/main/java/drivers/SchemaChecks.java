package drivers;

import com.datastax.oss.driver.api.core.CqlIdentifier;
import com.datastax.oss.driver.api.core.CqlSession;
import com.datastax.oss.driver.api.core.cql.PreparedStatement;
import com.datastax.oss.driver.api.core.cql.ResultSet;
import com.datastax.oss.driver.api.core.cql.Row;
import com.datastax.oss.driver.api.core.cql.SimpleStatement;
import com.datastax.oss.driver.api.core.metadata.schema.KeyspaceMetadata;
import com.datastax.oss.driver.api.core.metadata.schema.TableMetadata;
import java.util.ArrayList;
import java.util.List;
import java.util.stream.Collectors;

/** Keyspaces, definitions, what the driver knows of them and when it hears of changes. */
final class SchemaChecks {
  private SchemaChecks() {}

  static void run(Checks checks, CqlSession session) {
    checks.check("describes keyspace, tables and types", () -> {
      KeyspaceMetadata keyspace = session.refreshSchema().getKeyspace(checks.keyspace).orElseThrow();
      List<String> seen = new ArrayList<>();
      for (String table : List.of("kinds", "rows_of", "counts", "lwt_items")) {
        TableMetadata one = keyspace.getTable(table).orElseThrow();
        seen.add(one.describe(false));
      }
      seen.add(keyspace.getUserDefinedType("address").orElseThrow().describe(false));
      seen.add(keyspace.describe(false));
      return seen;
    });

    checks.check("knows what it has just defined", () -> {
      ResultSet created = session.execute("CREATE TABLE defined (id int PRIMARY KEY, v text)");
      Checks.same(created.getExecutionInfo().isSchemaInAgreement(), true);
      session.execute("CREATE INDEX defined_v ON defined (v)");
      session.execute("ALTER TABLE defined ADD more set<text>");
      session.execute("CREATE TYPE defined_type (a int)");
      session.execute("ALTER TYPE defined_type ADD b text");
      KeyspaceMetadata keyspace = session.refreshSchema().getKeyspace(checks.keyspace).orElseThrow();
      TableMetadata table = keyspace.getTable("defined").orElseThrow();
      String seen = table.getColumns().keySet() + " " + table.getIndexes().keySet() + " "
          + keyspace.getUserDefinedType("defined_type").orElseThrow().getFieldNames();
      session.execute("DROP TABLE defined");
      session.execute("DROP TYPE defined_type");
      Checks.eventually("the table is gone", () -> keyspaceOf(checks, session).getTable("defined").isEmpty());
      return seen;
    });

    checks.check("hears of definitions by another session", () -> {
      try (CqlSession other = checks.open()) {
        other.execute("CREATE TABLE elsewhere (id int PRIMARY KEY, v text)");
        Checks.eventually("the table is known", () -> keyspaceOf(checks, session).getTable("elsewhere").isPresent());
        other.execute("ALTER TABLE elsewhere ADD w text");
        Checks.eventually("the column is known",
            () -> keyspaceOf(checks, session).getTable("elsewhere").orElseThrow().getColumn("w").isPresent());
        other.execute("DROP TABLE elsewhere");
        Checks.eventually("the table is gone", () -> keyspaceOf(checks, session).getTable("elsewhere").isEmpty());
      }
      return true;
    });

    checks.checkProxy("uses what it has just defined, again and again", () -> {
      for (int round = 0; round < 10; round++) {
        session.execute("CREATE TABLE at_once_" + round + " (id int PRIMARY KEY, v text)");
        PreparedStatement insert = session.prepare("INSERT INTO at_once_" + round + " (id, v) VALUES (?, ?)");
        session.execute(insert.bind(round, "used"));
        Checks.same(session.execute("SELECT v FROM at_once_" + round).one().getString(0), "used");
      }
      return true;
    });

    checks.check("follows a change of a table with prepared statements", () -> {
      session.execute("CREATE TABLE changing (id int PRIMARY KEY, v text)");
      PreparedStatement select = session.prepare("SELECT * FROM changing");
      PreparedStatement insert = session.prepare("INSERT INTO changing (id, v) VALUES (?, ?)");
      session.execute(insert.bind(1, "before"));
      List<Object> seen = new ArrayList<>();
      seen.add(columns(session.execute(select.bind())));
      session.execute("ALTER TABLE changing ADD a text");
      session.execute(insert.bind(2, "after"));
      session.execute("UPDATE changing SET a = 'new' WHERE id = 2");
      seen.add(columns(session.execute(select.bind())));
      try (CqlSession other = checks.open()) {
        other.execute("ALTER TABLE changing ADD b int");
        other.execute("UPDATE changing SET b = 7 WHERE id = 1");
      }
      seen.add(columns(session.execute(select.bind())));
      session.execute("ALTER TABLE changing DROP a");
      session.execute(insert.bind(3, "last"));
      seen.add(columns(session.execute(select.bind())));
      return seen;
    });

    checks.check("works on after a table was dropped and made again", () -> {
      session.execute("CREATE TABLE remade (id int PRIMARY KEY, v text)");
      PreparedStatement insert = session.prepare("INSERT INTO remade (id, v) VALUES (?, ?)");
      session.execute(insert.bind(1, "first"));
      session.execute("DROP TABLE remade");
      session.execute("CREATE TABLE remade (id int PRIMARY KEY, v text)");
      session.execute(insert.bind(2, "second"));
      session.execute("INSERT INTO remade (id, v) VALUES (3, 'third')");
      session.execute("TRUNCATE remade");
      session.execute(insert.bind(4, "fourth"));
      return StatementChecks.formatted(session, "SELECT * FROM remade");
    });

    checks.check("keeps the keyspaces of sessions apart", () -> {
      List<Object> seen = new ArrayList<>();
      try (CqlSession second = checks.open(checks.username, checks.password, checks.keyspace + "_2", options -> {});
          CqlSession none = checks.open(checks.username, checks.password, null, options -> {})) {
        for (CqlSession one : List.of(session, second)) one.execute("CREATE TABLE same_name (id int PRIMARY KEY, v text)");
        String cql = "INSERT INTO same_name (id, v) VALUES (?, ?)";
        session.execute(session.prepare(cql).bind(1, "first keyspace"));
        second.execute(second.prepare(cql).bind(2, "second keyspace"));
        none.execute("USE " + checks.keyspace + "_2");
        seen.add(none.getKeyspace().map(CqlIdentifier::asInternal).orElse("none"));
        none.execute(none.prepare(cql).bind(3, "after USE"));
        none.execute("USE " + checks.keyspace);
        none.execute("INSERT INTO same_name (id, v) VALUES (4, 'after another USE')");
        for (CqlSession one : List.of(session, second)) seen.add(StatementChecks.formatted(one, "SELECT * FROM same_name"));
      }
      return seen;
    });

    checks.check("names a keyspace with a single statement", () -> {
      CqlIdentifier second = CqlIdentifier.fromInternal(checks.keyspace + "_2");
      session.execute(SimpleStatement.newInstance("INSERT INTO same_name (id, v) VALUES (10, 'by statement')").setKeyspace(second));
      PreparedStatement prepared = session.prepare(SimpleStatement.newInstance("INSERT INTO same_name (id, v) VALUES (?, ?)").setKeyspace(second));
      session.execute(prepared.bind(11, "by prepared statement"));
      List<Row> rows = session.execute(SimpleStatement.newInstance("SELECT * FROM same_name WHERE id IN (10, 11)").setKeyspace(second)).all();
      return rows.stream().map(Row::getFormattedContents).collect(Collectors.toList());
    });

    checks.check("takes quoted names", () -> {
      session.execute("CREATE TABLE \"MixedCase\" (\"Id\" int PRIMARY KEY, \"now()\" text)");
      session.execute(session.prepare("INSERT INTO \"MixedCase\" (\"Id\", \"now()\") VALUES (?, ?)").bind(1, "x"));
      return StatementChecks.formatted(session, "SELECT * FROM \"MixedCase\"");
    });
  }

  private static KeyspaceMetadata keyspaceOf(Checks checks, CqlSession session) {
    return session.getMetadata().getKeyspace(checks.keyspace).orElseThrow();
  }

  private static Object columns(ResultSet result) {
    return List.of(TopologyChecks.columns(result.getColumnDefinitions()), result.all().stream().map(Row::getFormattedContents).collect(Collectors.toList()));
  }
}
