/**
 * Cassandra's own scanner over an SSTable, as the benchmarks' yardstick: the jars of the local cluster, one core, the
 * code that compaction reads with (chunk checksums on, memory-mapped files).
 *
 *   node test/bench/java-scanner.ts Data.db …
 */
import { basename, join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { parseSSTableName } from '#core/sstable/sstable-name.ts';
import { prepare } from '../../infra/local/prepare.ts';
import { runOrFail } from '../../infra/local/processes.ts';
import { CassandraVersion } from '../../infra/local/versions.ts';
import { benchJavaArguments } from './bench-java.ts';

const SCANNER = join(import.meta.dirname, 'java', 'ScanTable.java');
/** The server compiler is done with the scanner's code by then. */
const WARM_UP_SECONDS = 5;
const HEAP_MB = 512;

export interface JavaScan {
  /** Uncompressed megabytes (10^6) per second of CPU time, of the JVM as a whole: the collector's share is in it. */
  readonly plainMBps: number;
  readonly rowsPerSecond: number;
  /** Rows of the SSTable, static rows included. */
  readonly rows: number;
  readonly plainBytes: number;
  /** Highest memory of the JVM, the mapped file included; 0 where that is not known. */
  readonly maxRssMiB: number;
}

/**
 * Measures how fast Cassandra reads every row and cell of an SSTable on one core.
 *
 * @param seconds CPU time to measure, after the warm-up
 */
export async function scanWithCassandra(dataPath: string, seconds = 4): Promise<JavaScan> {
  const { java } = await prepare(() => {});
  const isOld = /^[mn]/.test(parseSSTableName(basename(dataPath))?.version ?? '');
  const version = isOld ? CassandraVersion.origin : CassandraVersion.target;
  const times = [String(WARM_UP_SECONDS), String(seconds)];
  const { stdout } = await runOrFail(`Cassandra ${version} scanning ${basename(dataPath)}`, java, [
    ...benchJavaArguments(version, HEAP_MB, SCANNER),
    ...times,
    dataPath,
  ]);
  const { plainBytes, rows, rounds, cpuSeconds, maxRssKiB } = JSON.parse(stdout) as {
    [name in 'plainBytes' | 'rows' | 'rounds' | 'cpuSeconds' | 'maxRssKiB']: number;
  };
  return {
    plainMBps: (plainBytes * rounds) / cpuSeconds / 1e6,
    rowsPerSecond: (rows * rounds) / cpuSeconds,
    rows,
    plainBytes,
    maxRssMiB: Math.round(maxRssKiB / 1024),
  };
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  for (const path of process.argv.slice(2)) {
    const { plainMBps, rowsPerSecond } = await scanWithCassandra(path);
    process.stdout.write(`${plainMBps.toFixed(1)} MB/s, ${Math.round(rowsPerSecond)} rows/s: ${path}\n`);
  }
}
