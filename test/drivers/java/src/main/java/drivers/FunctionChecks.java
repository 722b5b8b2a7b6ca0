package drivers;

import com.datastax.oss.driver.api.core.CqlSession;
import com.datastax.oss.driver.api.core.cql.BatchStatement;
import com.datastax.oss.driver.api.core.cql.BoundStatement;
import com.datastax.oss.driver.api.core.cql.DefaultBatchType;
import com.datastax.oss.driver.api.core.cql.PreparedStatement;
import com.datastax.oss.driver.api.core.cql.SimpleStatement;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/** Functions that yield something else each time: what a client sees of such statements does not show where they run. */
final class FunctionChecks {
  private FunctionChecks() {}

  static void run(Checks checks, CqlSession session) {
    session.execute("CREATE TABLE moments (id int, ts timeuuid, v text, PRIMARY KEY (id, ts))");
    session.execute("CREATE TABLE pairs (a int, b uuid, v text, PRIMARY KEY ((a, b)))");
    session.execute(
        "CREATE TABLE stamps (id int PRIMARY KEY, t timestamp, d date, ti time, u uuid, tu timeuuid, b bigint, v text,"
            + " l list<timeuuid>, m map<text, timeuuid>, tup tuple<int, timeuuid>)");

    checks.check("prepares now() in each place", () -> {
      Map<String, Object[]> shapes = new LinkedHashMap<>();
      shapes.put("INSERT INTO moments (id, ts) VALUES (?, now())", new Object[] {1});
      shapes.put("INSERT INTO moments (id, ts, v) VALUES (?, now(), ?)", new Object[] {2, "middle"});
      shapes.put("INSERT INTO moments (ts, id, v) VALUES (now(), ?, ?)", new Object[] {3, "first"});
      shapes.put("INSERT INTO moments (id, ts, v) VALUES (:id, now(), :name)", new Object[] {4, "named"});
      shapes.put("INSERT INTO moments (id, ts, v) VALUES (:zid, now(), :zz)", new Object[] {5, "named late"});
      shapes.put("INSERT INTO moments (id, ts, v) VALUES (?, system.now(), 'literal')", new Object[] {6});
      shapes.put("UPDATE moments USING TTL ? SET v = ? WHERE id = ? AND ts = now()", new Object[] {1000, "where", 7});
      shapes.put("INSERT INTO moments (id, ts, v) VALUES (8, now(), 'no marker')", new Object[] {});
      shapes.put("INSERT INTO pairs (b, a, v) VALUES (now(), ?, ?)", new Object[] {1, "composite"});
      shapes.put("INSERT INTO pairs (a, b, v) VALUES (?, uuid(), ?) USING TIMESTAMP ?", new Object[] {2, "composite", 1000L});
      List<Object> seen = run(session, shapes);
      seen.add(StatementChecks.formatted(session, "SELECT id, v FROM moments"));
      seen.add(StatementChecks.formatted(session, "SELECT a, v FROM pairs").size());
      return seen;
    });

    checks.check("prepares nested and other functions", () -> {
      Map<String, Object[]> shapes = new LinkedHashMap<>();
      shapes.put("INSERT INTO stamps (id, t, u, v) VALUES (?, toTimestamp(now()), uuid(), ?)", new Object[] {1, "a"});
      shapes.put("INSERT INTO stamps (id, d, ti, tu) VALUES (?, currentDate(), currentTime(), currentTimeUUID())", new Object[] {2});
      shapes.put("INSERT INTO stamps (t, id, b) VALUES (currentTimestamp(), :id, toUnixTimestamp(now()))", new Object[] {3});
      shapes.put("UPDATE stamps SET u = uuid(), v = ?, d = toDate(now()) WHERE id = ?", new Object[] {"set", 4});
      shapes.put("UPDATE stamps SET tup = (?, now()) WHERE id = ?", new Object[] {1, 5});
      shapes.put("UPDATE stamps SET m[?] = now() WHERE id = ?", new Object[] {"key", 6});
      shapes.put("BEGIN BATCH INSERT INTO stamps (id, u) VALUES (?, uuid()); INSERT INTO stamps (id, tu, v) VALUES (?, now(), ?); APPLY BATCH", new Object[] {7, 8, "batch"});
      List<Object> seen = run(session, shapes);
      seen.add(StatementChecks.formatted(session, "SELECT id, v FROM stamps"));
      Checks.same(session.execute("SELECT count(u) FROM stamps").one().getLong(0), 3L);
      Checks.same(session.execute("SELECT count(t) FROM stamps").one().getLong(0), 2L);
      return seen;
    });

    checks.check("prepares functions inside of collections", () -> {
      session.execute("CREATE TABLE recorded_stamps (id int PRIMARY KEY, l list<timeuuid>, m map<text, timeuuid>, v text)");
      List<Object> seen = run(session, Map.of("UPDATE recorded_stamps SET l = [now(), now()], m = {'k': now()}, v = ? WHERE id = ?", new Object[] {"a", 5}));
      seen.add(StatementChecks.formatted(session, "SELECT id, v FROM recorded_stamps"));
      return seen;
    });

    checks.check("evaluates functions in texts and batches", () -> {
      session.execute("INSERT INTO moments (id, ts, v) VALUES (20, now(), 'now() in a text')");
      session.execute(SimpleStatement.newInstance("INSERT INTO moments (id, ts, v) VALUES (?, now(), ?)", 21, "values"));
      session.execute(SimpleStatement.newInstance("INSERT INTO moments (id, ts, v) VALUES (:id, now(), :v)", Map.of("id", 22, "v", "named")));
      session.execute("INSERT INTO stamps (id, t, u) VALUES (20, toTimestamp(now()), uuid())");
      session.execute("BEGIN BATCH INSERT INTO moments (id, ts) VALUES (23, now()); INSERT INTO stamps (id, u) VALUES (23, uuid()) APPLY BATCH");
      PreparedStatement insert = session.prepare("INSERT INTO moments (id, ts, v) VALUES (?, now(), ?)");
      session.execute(BatchStatement.newInstance(
          DefaultBatchType.LOGGED, insert.bind(24, "prepared"), insert.bind(24, "again"),
          SimpleStatement.newInstance("INSERT INTO moments (id, ts, v) VALUES (24, now(), 'text')"),
          SimpleStatement.newInstance("INSERT INTO moments (id, ts, v) VALUES (?, now(), ?)", 24, "values")));
      session.execute("DELETE FROM moments WHERE id = 20 AND ts < minTimeuuid('2000-01-01')");
      return StatementChecks.formatted(session, "SELECT id, v FROM moments WHERE id IN (20, 21, 22, 23)").toString()
          + session.execute("SELECT * FROM moments WHERE id = 24").all().size();
    });

    checks.check("reads with functions", () -> {
      PreparedStatement recent = session.prepare("SELECT id, v FROM moments WHERE id = ? AND ts < now() AND ts > minTimeuuid(?)");
      Checks.same(session.execute(recent.bind(1, java.time.Instant.EPOCH)).all().size(), 1);
      Checks.same(session.execute("SELECT now(), uuid() FROM system.local").one().getUuid(0).version(), 1);
      return TopologyChecks.columns(recent.getVariableDefinitions());
    });
  }

  private static List<Object> run(CqlSession session, Map<String, Object[]> shapes) {
    List<Object> seen = new ArrayList<>();
    shapes.forEach((cql, values) -> {
      try {
        PreparedStatement prepared = session.prepare(cql);
        BoundStatement bound = prepared.bind(values);
        session.execute(bound);
        seen.add(List.of(cql, TopologyChecks.columns(prepared.getVariableDefinitions()), prepared.getPartitionKeyIndices(),
            String.valueOf(bound.getRoutingKey() != null)));
      } catch (RuntimeException e) {
        throw new IllegalStateException(cql + ": " + e, e);
      }
    });
    return seen;
  }
}
