import com.sun.management.OperatingSystemMXBean;
import java.lang.management.ManagementFactory;
import java.lang.management.ThreadMXBean;
import java.lang.reflect.Method;
import java.nio.file.Files;
import java.nio.file.Path;
import org.apache.cassandra.config.Config;
import org.apache.cassandra.config.DatabaseDescriptor;
import org.apache.cassandra.db.rows.Cell;
import org.apache.cassandra.db.rows.Row;
import org.apache.cassandra.db.rows.Unfiltered;
import org.apache.cassandra.db.rows.UnfilteredRowIterator;
import org.apache.cassandra.dht.Murmur3Partitioner;
import org.apache.cassandra.io.sstable.Descriptor;
import org.apache.cassandra.io.sstable.ISSTableScanner;
import org.apache.cassandra.io.sstable.format.SSTableReader;
import org.apache.cassandra.io.util.File;
import org.apache.cassandra.schema.TableMetadata;
import org.apache.cassandra.schema.TableMetadataRef;
import org.apache.cassandra.tools.Util;

/**
 * Reads every row and cell of SSTables with the scanner that Cassandra compacts with, and prints per file one line of
 * JSON: { path, plainBytes, rows, cells, rounds, wallSeconds, cpuSeconds, threadSeconds, maxRssKiB } of the measured
 * rounds. `cpuSeconds` is the whole JVM's, collector included; `threadSeconds` the scanning thread's alone; `maxRssKiB`
 * the highest memory so far, 0 where that is not known.
 *
 *   java -cp JARS -XX:ActiveProcessorCount=1 -XX:+UseSerialGC ScanTable.java WARM_UP_SECONDS SECONDS Data.db …
 */
public class ScanTable
{
    private static long rows;
    private static long cells;
    /** Keeps the values from being optimised away. */
    private static long sink;

    public static void main(String[] args) throws Exception
    {
        DatabaseDescriptor.clientInitialization(false);
        DatabaseDescriptor.setPartitionerUnsafe(Murmur3Partitioner.instance);
        // What a server on a 64-bit machine takes by default.
        DatabaseDescriptor.setDiskAccessMode(Config.DiskAccessMode.mmap);
        DatabaseDescriptor.setIndexAccessMode(Config.DiskAccessMode.mmap);
        for (int i = 2; i < args.length; i++)
            measure(args[i], Double.parseDouble(args[0]), Double.parseDouble(args[1]));
        System.exit(0); // Cassandra's threads would keep the JVM alive
    }

    private static void measure(String path, double warmUpSeconds, double seconds) throws Exception
    {
        SSTableReader sstable = open(path);
        // Of this thread's CPU time: on a busy machine the compiler needs longer by the clock.
        ThreadMXBean threads = ManagementFactory.getThreadMXBean();
        for (long end = threads.getCurrentThreadCpuTime() + (long) (warmUpSeconds * 1e9); threads.getCurrentThreadCpuTime() < end; )
            scan(sstable);
        OperatingSystemMXBean process = (OperatingSystemMXBean) ManagementFactory.getOperatingSystemMXBean();
        rows = cells = 0;
        int rounds = 0;
        long wall = System.nanoTime();
        long cpu = process.getProcessCpuTime();
        long thread = threads.getCurrentThreadCpuTime();
        do
        {
            scan(sstable);
            rounds++;
        }
        while (process.getProcessCpuTime() - cpu < seconds * 1e9);
        thread = threads.getCurrentThreadCpuTime() - thread;
        cpu = process.getProcessCpuTime() - cpu;
        wall = System.nanoTime() - wall;
        System.out.printf("{\"path\":\"%s\",\"plainBytes\":%d,\"rows\":%d,\"cells\":%d,\"rounds\":%d,"
                + "\"wallSeconds\":%.3f,\"cpuSeconds\":%.3f,\"threadSeconds\":%.3f,\"maxRssKiB\":%d,\"sink\":%d}%n",
            path.replace("\\", "\\\\").replace("\"", "\\\""), sstable.uncompressedLength(), rows / rounds, cells / rounds, rounds,
            wall / 1e9, cpu / 1e9, thread / 1e9, maxRssKiB(), sink & 1);
        sstable.selfRef().release();
    }

    private static long maxRssKiB() throws Exception
    {
        Path status = Path.of("/proc/self/status");
        if (!Files.exists(status))
            return 0;
        for (String line : Files.readAllLines(status))
            if (line.startsWith("VmHWM:"))
                return Long.parseLong(line.replaceAll("\\D", ""));
        return 0;
    }

    private static void scan(SSTableReader sstable)
    {
        try (ISSTableScanner scanner = sstable.getScanner())
        {
            while (scanner.hasNext())
                try (UnfilteredRowIterator partition = scanner.next())
                {
                    read(partition.staticRow());
                    while (partition.hasNext())
                    {
                        Unfiltered unfiltered = partition.next();
                        if (unfiltered.isRow())
                            read((Row) unfiltered);
                    }
                }
        }
    }

    private static void read(Row row)
    {
        if (row.isEmpty())
            return;
        rows++;
        for (Cell<?> cell : row.cells())
        {
            cells++;
            sink += cell.valueSize() + cell.timestamp();
        }
    }

    /** By reflection where 4.1 and 5.0 differ. */
    private static SSTableReader open(String path) throws Exception
    {
        Descriptor descriptor;
        try
        {
            descriptor = (Descriptor) Descriptor.class.getMethod("fromFile", File.class).invoke(null, new File(path));
        }
        catch (NoSuchMethodException olderThan5)
        {
            descriptor = (Descriptor) Descriptor.class.getMethod("fromFilename", String.class).invoke(null, path);
        }
        TableMetadata table = Util.metadataFromSSTable(descriptor);
        TableMetadataRef reference = TableMetadataRef.forOfflineTools(table);
        for (Method method : SSTableReader.class.getMethods())
        {
            Class<?>[] types = method.getParameterTypes();
            if (!method.getName().equals("openNoValidation") || types[types.length - 1] != TableMetadataRef.class)
                continue;
            Object[] arguments = types.length == 3
                ? new Object[] { null, descriptor, reference }
                : new Object[] { descriptor, reference };
            return (SSTableReader) method.invoke(null, arguments);
        }
        throw new IllegalStateException("this Cassandra has no SSTableReader.openNoValidation");
    }
}
