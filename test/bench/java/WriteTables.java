import java.io.File;
import java.lang.reflect.Method;
import java.util.Date;
import java.util.Map;
import java.util.Random;
import java.util.stream.LongStream;
import org.apache.cassandra.config.DatabaseDescriptor;
import org.apache.cassandra.db.marshal.LongType;
import org.apache.cassandra.dht.Murmur3Partitioner;
import org.apache.cassandra.io.sstable.CQLSSTableWriter;

/**
 * Writes the tables of the benchmarks with Cassandra's own offline writer.
 *
 *   java -cp JARS WriteTables.java FOLDER FORMAT TABLE:PARTITIONS:ROWS_PER_PARTITION:NOTE_BYTES:COPIES …
 *
 * FORMAT is `bti` (5.0 only) or `big`. Each table goes to FOLDER/ks/TABLE-<its number>, in as many SSTables as COPIES says. A single
 * copy holds every row once; of several, each holds a random half of the rows at write times of its own, so that a merge
 * finds each row five times in ten copies and the winner anywhere.
 */
public class WriteTables
{
    private static final String[] WORDS = ("account address balance billing bucket cancel carrier city client closed"
        + " credit customer daily delivery discount draft email exchange express failed final follow gift group hold"
        + " invoice item late letter limit local manual market monthly never note offer open order origin owner"
        + " package paid partial pending phone pickup price priority quote ready refund region reminder renewal"
        + " request return review sample season second sent shipped signed stock store street supply target tax"
        + " ticket total transfer urgent vendor visit volume waiting weekly yearly zone").split(" ");
    private static final long FIRST_WRITE_MICROS = 1_700_000_000_000_000L;
    private static final int DAY_SECONDS = 86_400;

    public static void main(String[] args) throws Exception
    {
        DatabaseDescriptor.clientInitialization(false);
        if (args[1].equals("bti"))
            selectFormat("bti");
        for (int i = 2; i < args.length; i++)
        {
            String[] spec = args[i].split(":");
            int[] numbers = new int[4];
            for (int n = 0; n < 4; n++)
                numbers[n] = Integer.parseInt(spec[n + 1]);
            // The tools of 5.0 insist on a table id of 32 hex digits in the folder's name.
            File folder = new File(args[0], String.format("ks/%s-%032x", spec[0], i - 1));
            writeTable(folder, spec[0], numbers[0], numbers[1], numbers[2], numbers[3]);
        }
        System.exit(0); // Cassandra's threads would keep the JVM alive
    }

    /** By reflection: 4.1 has one format only and no such method. */
    private static void selectFormat(String name) throws Exception
    {
        Object format = ((Map<?, ?>) DatabaseDescriptor.class.getMethod("getSSTableFormats").invoke(null)).get(name);
        for (Method method : DatabaseDescriptor.class.getMethods())
            if (method.getName().equals("setSelectedSSTableFormat"))
                method.invoke(null, format);
    }

    private static void writeTable(File folder, String name, int partitions, int rows, int noteBytes, int copies)
        throws Exception
    {
        if (!folder.mkdirs())
            throw new IllegalStateException(folder + " exists already");
        String table = "ks." + name;
        String columns = "city text, email text, amount double, created timestamp, quantity int, note text";
        String schema = rows == 1
            ? "CREATE TABLE " + table + " (id bigint PRIMARY KEY, " + columns + ")"
            : "CREATE TABLE " + table + " (id bigint, seq int, " + columns + ", PRIMARY KEY (id, seq))";
        String insert = rows == 1
            ? "INSERT INTO " + table + " (id, city, email, amount, created, quantity, note) VALUES (?,?,?,?,?,?,?)"
            : "INSERT INTO " + table + " (id, seq, city, email, amount, created, quantity, note) VALUES (?,?,?,?,?,?,?,?)";
        long[] ids = idsInTokenOrder(partitions);
        for (int copy = 0; copy < copies; copy++)
        {
            CQLSSTableWriter writer = CQLSSTableWriter.builder()
                .inDirectory(folder.getPath())
                .forTable(schema + " WITH compression = {'class': 'LZ4Compressor', 'chunk_length_in_kb': 16}")
                .using(insert + " USING TIMESTAMP ?")
                .sorted()
                .build();
            Random random = new Random(31L * name.hashCode() + copy);
            for (long id : ids)
                for (int seq = 0; seq < rows; seq++)
                    if (copies == 1 || random.nextBoolean())
                        writer.addRow(row(random, id, rows == 1 ? -1 : seq, noteBytes));
            writer.close();
        }
    }

    private static Object[] row(Random random, long id, int seq, int noteBytes)
    {
        Object[] cells = {
            word(random),
            word(random) + "." + random.nextInt(10_000) + "@example.org",
            random.nextInt(1_000_000) / 100.0,
            new Date(1_600_000_000_000L + random.nextInt(DAY_SECONDS) * 1000L),
            random.nextInt(1000),
            note(random, noteBytes),
            FIRST_WRITE_MICROS + random.nextInt(DAY_SECONDS) * 1_000_000L + random.nextInt(1_000_000),
        };
        int keys = seq < 0 ? 1 : 2;
        Object[] row = new Object[keys + cells.length];
        row[0] = id;
        if (keys == 2)
            row[1] = seq;
        System.arraycopy(cells, 0, row, keys, cells.length);
        return row;
    }

    private static String word(Random random)
    {
        return WORDS[random.nextInt(WORDS.length)];
    }

    private static String note(Random random, int bytes)
    {
        StringBuilder text = new StringBuilder(bytes + 16);
        while (text.length() < bytes)
            text.append(word(random)).append(' ');
        text.setLength(bytes);
        return text.toString();
    }

    /** The writer streams to one SSTable when partitions come in the order of the ring. */
    private static long[] idsInTokenOrder(int count)
    {
        return LongStream.range(0, count)
            .map(index -> 1_000_000_007L * index)
            .boxed()
            .map(id -> new Object[] { Murmur3Partitioner.instance.getToken(LongType.instance.decompose(id)), id })
            .sorted((a, b) -> ((Murmur3Partitioner.LongToken) a[0]).compareTo((Murmur3Partitioner.LongToken) b[0]))
            .mapToLong(pair -> (Long) pair[1])
            .toArray();
    }
}
