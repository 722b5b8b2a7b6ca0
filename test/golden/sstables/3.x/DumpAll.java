import java.io.FileOutputStream;
import java.io.PrintStream;
import java.security.Permission;
import java.util.zip.GZIPOutputStream;
import org.apache.cassandra.tools.SSTableExport;

/**
 * Runs sstabledump on many files in one JVM, which is many times as quick: java … DumpAll.java {DATA_FILE OUT.gz}…
 * Tables of the name `types` are dumped with -t: of write times before 1970 sstabledump's dates are a second off.
 */
@SuppressWarnings("removal")
public class DumpAll
{
    public static void main(String[] args) throws Exception
    {
        // sstabledump ends with System.exit.
        System.setSecurityManager(new SecurityManager()
        {
            @Override
            public void checkExit(int status)
            {
                throw new SecurityException("exit " + status);
            }

            @Override
            public void checkPermission(Permission permission)
            {
            }
        });
        for (int i = 0; i < args.length; i += 2)
        {
            try (PrintStream out = new PrintStream(new GZIPOutputStream(new FileOutputStream(args[i + 1])), false, "UTF-8"))
            {
                System.setOut(out);
                boolean isRaw = args[i].contains("/types-");
                SSTableExport.main(isRaw ? new String[] { args[i], "-t" } : new String[] { args[i] });
            }
            catch (SecurityException end)
            {
                if (!"exit 0".equals(end.getMessage()))
                    throw end;
            }
        }
        System.setSecurityManager(null);
        System.exit(0); // Cassandra's threads would keep the JVM alive
    }
}
