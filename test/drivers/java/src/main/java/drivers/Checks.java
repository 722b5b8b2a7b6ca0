package drivers;

import com.datastax.oss.driver.api.core.CqlSession;
import com.datastax.oss.driver.api.core.config.DefaultDriverOption;
import com.datastax.oss.driver.api.core.config.DriverConfigLoader;
import com.datastax.oss.driver.api.core.config.ProgrammaticDriverConfigLoaderBuilder;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.net.InetSocketAddress;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.function.Consumer;

/** What the checks share: sessions, the report (one line of JSON for each check) and requests to the test that started us. */
final class Checks {
  /** What a check saw, as JSON: compared with what the same check sees without a proxy in between. */
  interface Check {
    Object run() throws Exception;
  }

  /** Something that becomes true. */
  interface Condition {
    boolean holds() throws Exception;
  }

  private static final ObjectMapper JSON = new ObjectMapper();

  final String host;
  final int port;
  final String username;
  final String password;
  final String keyspace;
  final boolean throughProxy;
  private final BufferedReader answers =
      new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));

  Checks(String[] args) {
    host = args[0];
    port = Integer.parseInt(args[1]);
    username = args[2];
    password = args[3];
    keyspace = args[4];
    throughProxy = args[5].equals("proxy");
  }

  /** The driver with its defaults; only its time-outs are made for a machine that has other work. */
  CqlSession open() {
    return open(username, password, keyspace, options -> {});
  }

  CqlSession open(Consumer<ProgrammaticDriverConfigLoaderBuilder> more) {
    return open(username, password, keyspace, more);
  }

  CqlSession open(String user, String secret, String inKeyspace, Consumer<ProgrammaticDriverConfigLoaderBuilder> more) {
    ProgrammaticDriverConfigLoaderBuilder options = DriverConfigLoader.programmaticBuilder();
    Duration patience = Duration.ofSeconds(30);
    options
        .withDuration(DefaultDriverOption.REQUEST_TIMEOUT, patience)
        .withDuration(DefaultDriverOption.CONNECTION_CONNECT_TIMEOUT, patience)
        .withDuration(DefaultDriverOption.CONNECTION_INIT_QUERY_TIMEOUT, patience)
        .withDuration(DefaultDriverOption.CONNECTION_SET_KEYSPACE_TIMEOUT, patience)
        .withDuration(DefaultDriverOption.CONTROL_CONNECTION_TIMEOUT, patience)
        .withDuration(DefaultDriverOption.HEARTBEAT_TIMEOUT, patience)
        .withDuration(DefaultDriverOption.METADATA_SCHEMA_REQUEST_TIMEOUT, patience)
        // Each definition waits so long for others; its default is a second.
        .withDuration(DefaultDriverOption.METADATA_SCHEMA_WINDOW, Duration.ofMillis(20));
    more.accept(options);
    return CqlSession.builder()
        .addContactPoint(new InetSocketAddress(host, port))
        .withLocalDatacenter("dc1")
        .withAuthCredentials(user, secret)
        .withKeyspace(inKeyspace)
        .withConfigLoader(options.build())
        .build();
  }

  /** A check whose result is the same with and without a proxy. */
  void check(String name, Check check) {
    Object detail;
    boolean ok = false;
    try {
      detail = check.run();
      ok = true;
    } catch (Throwable e) {
      StringBuilder text = new StringBuilder(e.toString());
      for (StackTraceElement frame : e.getStackTrace()) {
        if (frame.getClassName().startsWith("drivers.")) text.append(" at ").append(frame);
      }
      detail = text.toString();
    }
    Map<String, Object> line = new LinkedHashMap<>();
    line.put("name", name);
    line.put("ok", ok);
    line.put("detail", detail);
    print(line);
  }

  /** A check that makes sense through the proxy only. */
  void checkProxy(String name, Check check) {
    if (throughProxy) check(name, check);
  }

  /** Has the test do something outside, and waits until it is done. */
  void ask(String what) throws IOException {
    print(Map.of("ask", what));
    String answer = answers.readLine();
    if (!"done".equals(answer)) throw new IOException(what + ": " + answer);
  }

  private static void print(Map<String, Object> line) {
    try {
      System.out.println(JSON.writeValueAsString(line));
      System.out.flush();
    } catch (IOException e) {
      throw new IllegalStateException(e);
    }
  }

  static void eventually(String what, Condition condition) throws Exception {
    long deadline = System.nanoTime() + Duration.ofSeconds(30).toNanos();
    while (!condition.holds()) {
      if (System.nanoTime() > deadline) throw new AssertionError(what + ": not within 30 s");
      Thread.sleep(50);
    }
  }

  static void same(Object actual, Object expected) {
    if (!actual.equals(expected)) throw new AssertionError(actual + " is not " + expected);
  }
}
