package drivers;

import com.datastax.oss.driver.api.core.CqlSession;
import com.datastax.oss.driver.api.core.DefaultConsistencyLevel;
import com.datastax.oss.driver.api.core.config.DefaultDriverOption;
import com.datastax.oss.driver.api.core.cql.AsyncResultSet;
import com.datastax.oss.driver.api.core.cql.BatchStatement;
import com.datastax.oss.driver.api.core.cql.BatchStatementBuilder;
import com.datastax.oss.driver.api.core.cql.BoundStatement;
import com.datastax.oss.driver.api.core.cql.DefaultBatchType;
import com.datastax.oss.driver.api.core.cql.ExecutionInfo;
import com.datastax.oss.driver.api.core.cql.PagingState;
import com.datastax.oss.driver.api.core.cql.PreparedStatement;
import com.datastax.oss.driver.api.core.cql.QueryTrace;
import com.datastax.oss.driver.api.core.cql.ResultSet;
import com.datastax.oss.driver.api.core.cql.Row;
import com.datastax.oss.driver.api.core.cql.SimpleStatement;
import com.datastax.oss.driver.api.core.cql.Statement;
import com.datastax.oss.driver.api.core.data.CqlDuration;
import com.datastax.oss.driver.api.core.data.CqlVector;
import com.datastax.oss.driver.api.core.data.TupleValue;
import com.datastax.oss.driver.api.core.data.UdtValue;
import com.datastax.oss.driver.api.core.type.DataTypes;
import com.datastax.oss.driver.api.core.type.TupleType;
import com.datastax.oss.driver.api.core.type.UserDefinedType;
import java.math.BigDecimal;
import java.math.BigInteger;
import java.net.InetAddress;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.time.Instant;
import java.time.LocalDate;
import java.time.LocalTime;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.UUID;
import java.util.stream.Collectors;
import java.util.stream.IntStream;

/** Values, markers, batches, pages, conditions, times, traces. */
final class StatementChecks {
  private StatementChecks() {}

  static void run(Checks checks, CqlSession session) throws Exception {
    session.execute("CREATE TYPE address (street text, zip int, tags frozen<set<text>>)");
    session.execute(
        "CREATE TABLE kinds (id int PRIMARY KEY, a ascii, b bigint, bl blob, bo boolean, da date, de decimal, d double,"
            + " du duration, f float, i inet, n int, s smallint, t text, ti time, ts timestamp, tu timeuuid, ty tinyint,"
            + " u uuid, vc varchar, vi varint, l list<text>, se set<int>, m map<text, bigint>,"
            + " fl frozen<list<frozen<map<int, text>>>>, tup tuple<int, text, double>, ad frozen<address>, op address)");
    session.execute("CREATE TABLE items (id int PRIMARY KEY, v text, w text, n int)");
    session.execute("CREATE TABLE rows_of (p int, c int, v text, PRIMARY KEY (p, c))");
    session.execute("CREATE TABLE counts (id int PRIMARY KEY, c counter, d counter)");
    session.execute("CREATE TABLE lwt_items (id int, c int, v text, s text static, PRIMARY KEY (id, c))");

    checks.check("stores every type with a prepared statement", () -> everyType(session));
    checks.check("tells null, unset and empty values apart", () -> nullAndUnset(session));
    checks.check("binds values by position and by name", () -> markers(session));
    checks.check("sends values with a simple statement", () -> simpleValues(session));
    checks.check("runs batches of all kinds", () -> batches(session));
    checks.check("counts with counters", () -> counters(session));
    checks.check("reads page by page and resumes from a saved state", () -> paging(checks, session));
    checks.check("runs conditional writes", () -> conditional(session));
    checks.check("writes and reads JSON", () -> json(session));
    checks.check("keeps the timestamps of the application", () -> timestamps(session));
    checks.check("writes without timestamps of its own", () -> serverTimestamps(checks));
    checks.check("reads the trace of a query", () -> tracing(session));
    checks.check("gets the warnings of the server", () -> warnings(session));
    checks.check("sends a custom payload", () -> payload(session));
    checks.check("uses each consistency level", () -> consistencies(session));
    checks.check("has time to live", () -> timeToLive(session));
  }

  private static Object everyType(CqlSession session) throws Exception {
    UserDefinedType address =
        session.getMetadata().getKeyspace(session.getKeyspace().orElseThrow()).orElseThrow().getUserDefinedType("address").orElseThrow();
    UdtValue home = address.newValue("Main Street", 4711, Set.of("x"));
    TupleType tupleType = DataTypes.tupleOf(DataTypes.INT, DataTypes.TEXT, DataTypes.DOUBLE);
    TupleValue tuple = session.getContext() == null ? null : tupleType.newValue(1, "two", 3.5);
    PreparedStatement insert =
        session.prepare(
            "INSERT INTO kinds (id, a, b, bl, bo, da, de, d, du, f, i, n, s, t, ti, ts, tu, ty, u, vc, vi, l, se, m, fl, tup, ad, op)"
                + " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)");
    int id = 0;
    for (InetAddress inet : List.of(InetAddress.getByName("10.1.2.3"), InetAddress.getByName("2001:db8::1"))) {
      session.execute(
          insert.bind(
              ++id, "ascii", Long.MIN_VALUE, ByteBuffer.wrap(new byte[] {0, 1, -1}), true, LocalDate.of(-44, 3, 15),
              new BigDecimal("-123456789.000000000000000001"), Double.MIN_VALUE, CqlDuration.from("-1mo2d3h4ns".replace("-", "")), Float.MAX_VALUE,
              inet, Integer.MIN_VALUE, Short.MAX_VALUE, "text \u00e4\u20ac\ud83d\ude00", LocalTime.of(23, 59, 59, 999_999_999),
              Instant.parse("1969-12-31T23:59:59.999Z"), UUID.fromString("50554d6e-29bb-11e5-b345-feff819cdc9f"), Byte.MIN_VALUE,
              UUID.fromString("f81d4fae-7dec-41d0-a765-00a0c91e6bf6"), "varchar", new BigInteger("-170141183460469231731687303715884105729"),
              List.of("b", "a", "b"), Set.of(3, 1, 2), Map.of("k", 1L), List.of(Map.of(1, "one")), tuple, home, home));
    }
    List<String> seen = new ArrayList<>();
    for (Row row : session.execute("SELECT * FROM kinds")) seen.add(row.getFormattedContents());
    Row bound = session.execute(session.prepare("SELECT * FROM kinds WHERE id = ?").bind(1)).one();
    seen.add(bound.getFormattedContents());
    Checks.same(bound.getUdtValue("ad").getInt("zip"), 4711);
    Checks.same(bound.getTupleValue("tup").getString(1), "two");
    return seen;
  }

  private static Object nullAndUnset(CqlSession session) {
    PreparedStatement insert = session.prepare("INSERT INTO items (id, v, w, n) VALUES (?, ?, ?, ?)");
    session.execute(insert.bind(1, "v", "w", 1));
    BoundStatement unset = insert.boundStatementBuilder().setInt(0, 1).setString(1, "v2").build();
    session.execute(unset);
    session.execute(insert.bind(2, "v", "w", 1));
    session.execute(insert.bind(2, null, "w2", 2));
    session.execute(insert.bind(3, "", "w", null));
    PreparedStatement update = session.prepare("UPDATE items SET v = :v, w = :w WHERE id = :id");
    session.execute(update.boundStatementBuilder().setInt("id", 3).setToNull("v").build());
    return formatted(session, "SELECT * FROM items WHERE id IN (1, 2, 3)");
  }

  private static Object markers(CqlSession session) {
    List<Object> seen = new ArrayList<>();
    for (String cql :
        List.of(
            "INSERT INTO items (id, v, n) VALUES (?, ?, ?)",
            "INSERT INTO items (v, n, id) VALUES (:v, :n, :id)",
            "UPDATE items SET v = :x, w = :x WHERE id = :id",
            "UPDATE items USING TTL :life SET v = :v WHERE id = :\"Id\"",
            "SELECT v FROM items WHERE id IN ?",
            "SELECT v FROM items WHERE id = :id LIMIT :most",
            "SELECT * FROM rows_of WHERE p = ? AND (c) > (?) AND c <= ?",
            "DELETE v FROM items USING TIMESTAMP ? WHERE id = ?")) {
      PreparedStatement prepared = session.prepare(cql);
      seen.add(List.of(cql, TopologyChecks.columns(prepared.getVariableDefinitions()), prepared.getPartitionKeyIndices(),
          TopologyChecks.columns(prepared.getResultSetDefinitions())));
    }
    session.execute(session.prepare("INSERT INTO items (id, v, n) VALUES (?, ?, ?)").bind(10, "position", 1));
    session.execute(session.prepare("INSERT INTO items (v, n, id) VALUES (:v, :n, :id)").boundStatementBuilder()
        .setInt("id", 11).setString("v", "name").setInt("n", 2).build());
    session.execute(session.prepare("UPDATE items SET v = :x, w = :x WHERE id = :id").boundStatementBuilder()
        .setInt("id", 12).setString("x", "twice").build());
    seen.add(formatted(session, "SELECT * FROM items WHERE id IN (10, 11, 12)"));
    return seen;
  }

  private static Object simpleValues(CqlSession session) {
    session.execute(SimpleStatement.newInstance("INSERT INTO items (id, v) VALUES (?, ?)", 20, "position"));
    session.execute(SimpleStatement.newInstance("INSERT INTO items (id, v) VALUES (:id, :v)", Map.of("id", 21, "v", "name")));
    session.execute("INSERT INTO items (id, v) VALUES (22, 'it''s; -- no comment') /* ? */ -- ?\n");
    session.execute("INSERT INTO items (id, v) VALUES (23, $$it's$$)");
    session.execute(SimpleStatement.builder("UPDATE items SET w = ? WHERE id = ?").addPositionalValues("w", 23).build());
    session.execute(SimpleStatement.newInstance("DELETE FROM items WHERE id = ?", 22));
    return formatted(session, "SELECT * FROM items WHERE id IN (20, 21, 22, 23)");
  }

  private static Object batches(CqlSession session) {
    PreparedStatement insert = session.prepare("INSERT INTO rows_of (p, c, v) VALUES (?, ?, ?)");
    PreparedStatement named = session.prepare("UPDATE rows_of SET v = :v WHERE p = :p AND c = :c");
    BatchStatementBuilder logged = BatchStatement.builder(DefaultBatchType.LOGGED);
    logged.addStatement(insert.bind(1, 1, "prepared"));
    logged.addStatement(SimpleStatement.newInstance("INSERT INTO rows_of (p, c, v) VALUES (1, 2, 'text')"));
    logged.addStatement(SimpleStatement.newInstance("INSERT INTO rows_of (p, c, v) VALUES (?, ?, ?)", 1, 3, "text with values"));
    logged.addStatement(named.boundStatementBuilder().setInt("p", 1).setInt("c", 4).setString("v", "named").build());
    logged.addStatement(insert.boundStatementBuilder().setInt(0, 1).setInt(1, 5).build());
    session.execute(logged.build());
    session.execute(
        BatchStatement.newInstance(DefaultBatchType.UNLOGGED, insert.bind(2, 1, "one partition"), insert.bind(2, 2, null)));
    session.execute(BatchStatement.newInstance(DefaultBatchType.LOGGED, insert.bind(3, 1, "dated")).setQueryTimestamp(1_000_000L));
    session.execute(BatchStatement.newInstance(DefaultBatchType.LOGGED));
    session.execute("BEGIN BATCH INSERT INTO rows_of (p, c, v) VALUES (4, 1, 'text'); DELETE FROM rows_of WHERE p = 2 AND c = 2 APPLY BATCH");
    session.execute(
        SimpleStatement.newInstance("BEGIN UNLOGGED BATCH USING TIMESTAMP 2000000 INSERT INTO rows_of (p, c, v) VALUES (?, ?, ?); UPDATE rows_of SET v = ? WHERE p = ? AND c = ?; APPLY BATCH", 5, 1, "a", "b", 5, 2));
    PreparedStatement whole = session.prepare("BEGIN BATCH INSERT INTO rows_of (p, c, v) VALUES (?, ?, ?); INSERT INTO rows_of (p, c, v) VALUES (?, ?, ?); APPLY BATCH");
    session.execute(whole.bind(6, 1, "x", 6, 2, "y"));
    List<String> seen = formatted(session, "SELECT p, c, v FROM rows_of");
    seen.addAll(formatted(session, "SELECT writetime(v) FROM rows_of WHERE p IN (3, 5)"));
    seen.add(whole.getPartitionKeyIndices().toString());
    return seen;
  }

  private static Object counters(CqlSession session) {
    PreparedStatement add = session.prepare("UPDATE counts SET c = c + ? WHERE id = ?");
    for (int round = 0; round < 10; round++) session.execute(add.bind(2L, 1));
    session.execute("UPDATE counts SET c = c - 5, d = d + 1 WHERE id = 1");
    BatchStatement batch = BatchStatement.newInstance(
        DefaultBatchType.COUNTER, add.bind(7L, 2), SimpleStatement.newInstance("UPDATE counts SET d = d + 3 WHERE id = 2"));
    session.execute(batch);
    session.execute("BEGIN COUNTER BATCH UPDATE counts SET c = c + 1 WHERE id = 3; UPDATE counts SET c = c + 1 WHERE id = 3 APPLY BATCH");
    return formatted(session, "SELECT * FROM counts");
  }

  private static Object paging(Checks checks, CqlSession session) throws Exception {
    PreparedStatement insert = session.prepare("INSERT INTO rows_of (p, c, v) VALUES (100, ?, ?)");
    for (int c = 0; c < 100; c++) session.execute(insert.bind(c, "row " + c));
    SimpleStatement byText = SimpleStatement.newInstance("SELECT c FROM rows_of WHERE p = 100").setPageSize(7);
    PreparedStatement select = session.prepare("SELECT c FROM rows_of WHERE p = ?");
    BoundStatement bound = select.bind(100).setPageSize(7);
    List<Object> seen = new ArrayList<>();
    for (Statement<?> statement : List.of(byText, bound)) {
      seen.add(session.execute(statement).all().stream().map(row -> row.getInt(0)).collect(Collectors.toList()));
    }
    AsyncResultSet page = session.executeAsync(bound).toCompletableFuture().get();
    int pages = 1;
    for (; page.hasMorePages(); pages++) page = page.fetchNextPage().toCompletableFuture().get();
    seen.add(pages);
    ExecutionInfo first = session.execute(bound).getExecutionInfo();
    PagingState safe = PagingState.fromString(first.getSafePagingState().toString());
    seen.add(session.execute(bound.setPagingState(safe)).all().stream().map(row -> row.getInt(0)).collect(Collectors.toList()));
    try (CqlSession other = checks.open()) {
      Statement<?> again = other.prepare("SELECT c FROM rows_of WHERE p = ?").bind(100).setPageSize(7).setPagingState(first.getPagingState());
      seen.add(other.execute(again).all().size());
    }
    return seen;
  }

  private static Object conditional(CqlSession session) {
    List<Object> seen = new ArrayList<>();
    PreparedStatement insert = session.prepare("INSERT INTO lwt_items (id, c, v) VALUES (?, ?, ?) IF NOT EXISTS");
    for (Statement<?> statement :
        List.of(
            insert.bind(1, 1, "first"),
            insert.bind(1, 1, "second"),
            SimpleStatement.newInstance("UPDATE lwt_items SET v = 'third' WHERE id = 1 AND c = 1 IF v = 'first'"),
            SimpleStatement.newInstance("UPDATE lwt_items SET v = ? WHERE id = ? AND c = ? IF v = ?", "fourth", 1, 1, "nothing"),
            SimpleStatement.newInstance("UPDATE lwt_items SET v = 'fifth' WHERE id = 9 AND c = 9 IF EXISTS"),
            SimpleStatement.newInstance("DELETE FROM lwt_items WHERE id = 1 AND c = 1 IF v IN ('third')"),
            SimpleStatement.newInstance("UPDATE lwt_items SET s = 'static' WHERE id = 1 IF s = null"),
            BatchStatement.newInstance(
                DefaultBatchType.LOGGED, insert.bind(2, 1, "batch"), SimpleStatement.newInstance("INSERT INTO lwt_items (id, c, v) VALUES (2, 2, 'same partition')")),
            BatchStatement.newInstance(DefaultBatchType.LOGGED, insert.bind(2, 1, "batch"), insert.bind(2, 3, "no")))) {
      ResultSet result = session.execute(statement);
      boolean wasApplied = result.wasApplied();
      List<Row> rows = result.all();
      seen.add(List.of(wasApplied, TopologyChecks.columns(result.getColumnDefinitions()),
          rows.stream().map(Row::getFormattedContents).collect(Collectors.toList())));
    }
    SimpleStatement serial = SimpleStatement.newInstance("SELECT * FROM lwt_items WHERE id = 2").setConsistencyLevel(DefaultConsistencyLevel.LOCAL_SERIAL);
    seen.add(session.execute(serial).all().stream().map(Row::getFormattedContents).collect(Collectors.toList()));
    return seen;
  }

  private static Object json(CqlSession session) {
    session.execute("INSERT INTO items JSON '{\"id\": 30, \"v\": \"json\"}'");
    session.execute(session.prepare("INSERT INTO items JSON ?").bind("{\"id\": 31, \"v\": \"prepared\", \"n\": 4}"));
    session.execute(session.prepare("INSERT INTO items JSON ? DEFAULT UNSET").bind("{\"id\": 31, \"w\": \"unset\"}"));
    return formatted(session, "SELECT JSON * FROM items WHERE id IN (30, 31)");
  }

  private static Object timestamps(CqlSession session) {
    session.execute("INSERT INTO items (id, v) VALUES (40, 'text') USING TIMESTAMP 4000");
    session.execute(SimpleStatement.newInstance("INSERT INTO items (id, v) VALUES (41, 'field')").setQueryTimestamp(5000));
    PreparedStatement insert = session.prepare("INSERT INTO items (id, v) VALUES (?, ?) USING TIMESTAMP ?");
    session.execute(insert.bind(42, "marker", 6000L));
    session.execute(session.prepare("INSERT INTO items (id, v) VALUES (?, ?)").bind(43, "field").setQueryTimestamp(7000));
    long before = System.currentTimeMillis() * 1000;
    session.execute("INSERT INTO items (id, v) VALUES (44, 'generator')");
    long written = session.execute("SELECT writetime(v) FROM items WHERE id = 44").one().getLong(0);
    Checks.same(written >= before && written <= System.currentTimeMillis() * 1000 + 1000, true);
    return formatted(session, "SELECT id, v, writetime(v) FROM items WHERE id IN (40, 41, 42, 43)");
  }

  private static Object serverTimestamps(Checks checks) {
    try (CqlSession session = checks.open(options -> options.withString(DefaultDriverOption.TIMESTAMP_GENERATOR_CLASS, "ServerSideTimestampGenerator"))) {
      PreparedStatement insert = session.prepare("INSERT INTO items (id, v, w) VALUES (?, ?, ?)");
      BatchStatementBuilder batch = BatchStatement.builder(DefaultBatchType.LOGGED);
      for (int id = 50; id < 60; id++) {
        session.execute(insert.bind(id, "prepared", "w"));
        session.execute("UPDATE items SET w = 'text' WHERE id = " + id);
        batch.addStatement(insert.bind(id + 10, "batch", "w"));
      }
      session.execute(batch.build());
      session.execute("DELETE v FROM items WHERE id = 50");
      session.execute("DELETE FROM items WHERE id = 51");
      return formatted(session, "SELECT id, v, w FROM items WHERE id IN (50, 51, 52, 59, 60, 69)");
    }
  }

  private static Object tracing(CqlSession session) {
    List<Object> seen = new ArrayList<>();
    PreparedStatement insert = session.prepare("INSERT INTO items (id, v) VALUES (?, ?)");
    for (Statement<?> statement :
        List.of(
            SimpleStatement.newInstance("SELECT * FROM items WHERE id = 1"),
            insert.bind(70, "traced"),
            BatchStatement.newInstance(DefaultBatchType.LOGGED, insert.bind(71, "traced")))) {
      ExecutionInfo info = session.execute(statement.setTracing(true)).getExecutionInfo();
      QueryTrace trace = info.getQueryTrace();
      Checks.same(trace.getTracingId(), info.getTracingId());
      Checks.same(trace.getEvents().isEmpty(), false);
      seen.add(List.of(trace.getRequestType(), String.valueOf(trace.getParameters().get("query"))));
    }
    return seen;
  }

  private static Object warnings(CqlSession session) {
    PreparedStatement insert = session.prepare("INSERT INTO items (id, v) VALUES (?, ?)");
    BatchStatementBuilder wide = BatchStatement.builder(DefaultBatchType.UNLOGGED);
    for (int id = 80; id < 95; id++) wide.addStatement(insert.bind(id, "wide"));
    SimpleStatement text = SimpleStatement.newInstance("SELECT count(*) FROM items");
    return List.of(
        session.execute(text).getExecutionInfo().getWarnings(),
        session.execute(session.prepare("SELECT max(n) FROM items").bind()).getExecutionInfo().getWarnings(),
        session.execute(wide.build()).getExecutionInfo().getWarnings().stream().map(one -> one.substring(0, Math.min(40, one.length()))).collect(Collectors.toList()));
  }

  private static Object payload(CqlSession session) {
    Map<String, ByteBuffer> payload = Map.of("tag", ByteBuffer.wrap("value".getBytes(StandardCharsets.UTF_8)));
    PreparedStatement insert = session.prepare(SimpleStatement.newInstance("INSERT INTO items (id, v) VALUES (?, ?)").setCustomPayload(payload));
    PreparedStatement now = session.prepare(SimpleStatement.newInstance("SELECT id, v FROM items WHERE id = ? ").setCustomPayload(payload));
    session.execute(insert.bind(100, "prepared").setCustomPayload(payload));
    session.execute(SimpleStatement.newInstance("INSERT INTO items (id, v) VALUES (101, 'text')").setCustomPayload(payload));
    session.execute(BatchStatement.newInstance(DefaultBatchType.LOGGED, insert.bind(102, "batch")).setCustomPayload(payload));
    ResultSet result = session.execute(now.bind(100).setCustomPayload(payload));
    return List.of(result.one().getFormattedContents(), result.getExecutionInfo().getIncomingPayload().size(), formatted(session, "SELECT id, v FROM items WHERE id IN (101, 102)"));
  }

  private static Object consistencies(CqlSession session) {
    List<String> seen = new ArrayList<>();
    for (DefaultConsistencyLevel level : DefaultConsistencyLevel.values()) {
      for (String cql : List.of("INSERT INTO items (id, v) VALUES (110, 'level')", "SELECT v FROM items WHERE id = 110")) {
        String outcome;
        try {
          session.execute(SimpleStatement.newInstance(cql).setConsistencyLevel(level).setIdempotent(false));
          outcome = "done";
        } catch (RuntimeException e) {
          outcome = e.getClass().getSimpleName();
        }
        seen.add(level + " " + cql.substring(0, 6) + " " + outcome);
      }
    }
    return seen;
  }

  private static Object timeToLive(CqlSession session) {
    session.execute(session.prepare("INSERT INTO items (id, v) VALUES (?, ?) USING TTL ?").bind(120, "lives", 1000));
    int left = session.execute("SELECT ttl(v) FROM items WHERE id = 120").one().getInt(0);
    Checks.same(left > 900 && left <= 1000, true);
    return true;
  }

  /** Cassandra 5.0 alone knows vectors. */
  static void vector(Checks checks, CqlSession session) {
    checks.check("stores vectors", () -> {
      session.execute("CREATE TABLE vectors (id int PRIMARY KEY, v vector<float, 3>)");
      session.execute(session.prepare("INSERT INTO vectors (id, v) VALUES (?, ?)").bind(1, CqlVector.newInstance(1.5f, -2f, 0f)));
      session.execute("INSERT INTO vectors (id, v) VALUES (2, [1, 2, 3])");
      return List.of(
          formatted(session, "SELECT * FROM vectors"),
          session.execute("SELECT v FROM vectors WHERE id = 1").one().getVector(0, Float.class).toString());
    });
  }

  static List<String> formatted(CqlSession session, String query) {
    return session.execute(query).all().stream().map(Row::getFormattedContents).collect(Collectors.toCollection(ArrayList::new));
  }

  static List<Integer> numbers(int end) {
    return IntStream.range(0, end).boxed().collect(Collectors.toList());
  }
}
