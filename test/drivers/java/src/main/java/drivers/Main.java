package drivers;

import com.datastax.oss.driver.api.core.CqlSession;

/** Arguments: host, port, user, password, keyspace (there is another one with the suffix _2), proxy or direct, part. */
public final class Main {
  public static void main(String[] args) throws Exception {
    Checks checks = new Checks(args);
    try (CqlSession session = checks.open()) {
      switch (args[6]) {
        case "all":
          TopologyChecks.run(checks, session);
          StatementChecks.run(checks, session);
          FunctionChecks.run(checks, session);
          SchemaChecks.run(checks, session);
          ErrorChecks.run(checks, session);
          ConnectionChecks.run(checks, session);
          break;
        case "vector":
          StatementChecks.vector(checks, session);
          break;
        default:
          throw new IllegalArgumentException(args[6]);
      }
    }
    System.exit(0);
  }
}
