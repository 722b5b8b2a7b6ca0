import java.io.BufferedReader;
import java.io.FileOutputStream;
import java.io.IOException;
import java.io.InputStreamReader;
import java.io.OutputStream;
import java.io.PrintStream;
import java.lang.reflect.InvocationTargetException;
import java.nio.charset.StandardCharsets;
import java.security.Permission;
import java.util.Arrays;

/**
 * Runs Cassandra's command-line tools one after another in one JVM, since each start of one costs seconds.
 *
 * <p>A line of stdin is: file for the tool's output (its errors go to the file's name with .err), main class,
 * arguments, separated by tabs. The answer is the exit code on a line of stdout.
 */
public final class CassandraTools {
  /** A tool's System.exit, turned into an end of its main method. */
  private static final class Exit extends SecurityException {
    private static final long serialVersionUID = 1;
  }

  /** Of the first exit: a tool may catch what ended it, and exit once more. */
  private static volatile Integer exitCode;

  /** Tools keep the System.out that they found first, so it is one stream whose target changes. */
  private static final class Switch extends OutputStream {
    volatile OutputStream target = OutputStream.nullOutputStream();

    @Override
    public void write(int b) throws IOException {
      target.write(b);
    }

    @Override
    public void write(byte[] bytes, int offset, int length) throws IOException {
      target.write(bytes, offset, length);
    }

    @Override
    public void flush() throws IOException {
      target.flush();
    }
  }

  /** sstabledump closes what it prints to. */
  private static final class Stream extends PrintStream {
    Stream(OutputStream target) {
      super(target, true, StandardCharsets.UTF_8);
    }

    @Override
    public void close() {
      flush();
    }
  }

  public static void main(String[] ignored) throws Exception {
    PrintStream answers = System.out;
    Switch output = new Switch();
    System.setOut(new Stream(output));
    Switch errors = new Switch();
    System.setErr(new Stream(errors));
    System.setSecurityManager(
        new SecurityManager() {
          @Override
          public void checkExit(int code) {
            if (exitCode == null) exitCode = code;
            throw new Exit();
          }

          @Override
          public void checkPermission(Permission permission) {}
        });
    BufferedReader commands = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
    for (String line = commands.readLine(); line != null; line = commands.readLine()) {
      String[] parts = line.split("\t");
      int code;
      try (OutputStream out = new FileOutputStream(parts[0]);
          OutputStream err = new FileOutputStream(parts[0] + ".err")) {
        output.target = out;
        errors.target = err;
        code = run(parts[1], Arrays.copyOfRange(parts, 2, parts.length));
        System.out.flush();
        output.target = errors.target = OutputStream.nullOutputStream();
      }
      answers.println(code);
      answers.flush();
    }
    Runtime.getRuntime().halt(0);
  }

  private static int run(String mainClass, String[] args) throws ReflectiveOperationException {
    exitCode = null;
    try {
      Class.forName(mainClass).getMethod("main", String[].class).invoke(null, (Object) args);
    } catch (InvocationTargetException e) {
      if (exitCode == null) {
        e.getCause().printStackTrace(System.err);
        return 1;
      }
    }
    return exitCode == null ? 0 : exitCode;
  }
}
