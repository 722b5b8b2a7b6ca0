import java.nio.file.Files;
import java.nio.file.Paths;
import org.apache.cassandra.config.DatabaseDescriptor;
import org.apache.cassandra.cql3.QueryProcessor;
import org.apache.cassandra.db.ColumnFamilyStore;
import org.apache.cassandra.db.Keyspace;
import org.apache.cassandra.db.SystemKeyspace;

/**
 * Executes a file of CQL inside the storage engine of Cassandra 3.0 or 3.11, without a server around it: on Java 17 the
 * daemon of these releases does not start, their memtables and flushes work. See make.sh.
 *
 *   java -cp JARS -Dcassandra.config=… -Dcassandra.storagedir=… WriteFixtures.java STATEMENTS.cql
 *
 * One statement a line; `#` starts a comment; `@i` in a line repeats it (`@i 0 99 INSERT … {i} …`); `flush` flushes `ks`;
 * a line that starts with `3.11 ` is left out by 3.0.
 */
public class WriteFixtures
{
    public static void main(String[] args)
    {
        int code = 0;
        try
        {
            run(args[0]);
        }
        catch (Throwable error)
        {
            error.printStackTrace();
            code = 1;
        }
        System.exit(code); // Cassandra's threads would keep the JVM alive
    }

    private static void run(String statements) throws Exception
    {
        boolean is311 = start();
        Keyspace.setInitialized();
        SystemKeyspace.finishStartup();
        for (String line : Files.readAllLines(Paths.get(statements)))
        {
            if (line.startsWith("3.11 "))
            {
                if (!is311)
                    continue;
                line = line.substring(5);
            }
            if (line.isBlank() || line.startsWith("#"))
                continue;
            if (line.equals("flush"))
                flush();
            else if (line.startsWith("@i "))
                repeat(line.split(" ", 4));
            else
                execute(line);
        }
    }

    /** Configures the engine, and tells 3.11, which has a method of its own for that, from 3.0. */
    private static boolean start() throws Exception
    {
        boolean is311 = callIfThere("daemonInitialization");
        if (!is311)
            callIfThere("setDaemonInitialized"); // later ones of 3.0 have no memtables without it
        DatabaseDescriptor.createAllDirectories();
        return is311;
    }

    private static boolean callIfThere(String name) throws Exception
    {
        try
        {
            DatabaseDescriptor.class.getMethod(name).invoke(null);
            return true;
        }
        catch (NoSuchMethodException otherRelease)
        {
            return false;
        }
    }

    private static void repeat(String[] parts)
    {
        for (int i = Integer.parseInt(parts[1]); i <= Integer.parseInt(parts[2]); i++)
            execute(parts[3].replace("{i}", String.valueOf(i)).replace("{i%7}", String.valueOf(i % 7)));
    }

    private static void execute(String cql)
    {
        try
        {
            QueryProcessor.executeOnceInternal(cql);
        }
        catch (RuntimeException error)
        {
            throw new IllegalStateException(cql, error);
        }
    }

    private static void flush()
    {
        for (ColumnFamilyStore table : Keyspace.open("ks").getColumnFamilyStores())
            table.forceBlockingFlush();
    }
}
