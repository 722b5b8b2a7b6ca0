import java.io.File;
import org.apache.cassandra.config.Config;
import org.apache.cassandra.config.DatabaseDescriptor;
import org.apache.cassandra.io.sstable.CQLSSTableWriter;
import org.apache.cassandra.utils.StorageCompatibilityMode;

/** Writes `5.0-oa-far/far_expiry` with the jars of 5.0: cells that expire after 2038. java -cp JARS WriteFarExpiry.java FOLDER */
public class WriteFarExpiry
{
    public static void main(String[] args) throws Exception
    {
        Config config = new Config();
        config.storage_compatibility_mode = StorageCompatibilityMode.NONE;
        DatabaseDescriptor.clientInitialization(false, () -> config);
        File folder = new File(args[0]);
        folder.mkdirs();
        CQLSSTableWriter writer = CQLSSTableWriter.builder()
            .inDirectory(folder.getPath())
            .forTable("CREATE TABLE ks.far_expiry (id int, ck int, v text, PRIMARY KEY (id, ck))")
            .using("INSERT INTO ks.far_expiry (id, ck, v) VALUES (?, ?, ?) USING TIMESTAMP ? AND TTL ?")
            .build();
        for (int i = 0; i < 40; i++)
            writer.addRow(i % 5, i, "value " + i, 1_700_000_000_000_000L + i, 630_720_000 - i);
        writer.close();
        System.exit(0); // Cassandra's threads would keep the JVM alive
    }
}
