/**
 * The tables that the benchmarks read, written by Cassandra's own offline writer into `.ringshift/bench`, once: about
 * 270 MB of plain data, half of that on disk.
 *
 *   node test/bench/bench-data.ts        makes them and prints where they are
 */
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { cacheRoot } from '../../infra/local/paths.ts';
import { prepare } from '../../infra/local/prepare.ts';
import { runOrFail } from '../../infra/local/processes.ts';
import { CassandraVersion } from '../../infra/local/versions.ts';
import { benchJavaArguments } from './bench-java.ts';

const WRITER = join(import.meta.dirname, 'java', 'WriteTables.java');

interface Shape {
  readonly partitions: number;
  readonly rowsPerPartition: number;
  /** Length of the longest text, which brings a row to its size. */
  readonly noteBytes: number;
  /** SSTables that overlap: each holds a random half of the rows, unless there is one only. */
  readonly copies: number;
}

/** LZ4 in chunks of 16 KiB; the name says the plain bytes of a row on disk, key and timestamps included. */
const SHAPES = {
  single_150: { partitions: 210_000, rowsPerPartition: 1, noteBytes: 59, copies: 1 },
  wide_150: { partitions: 4200, rowsPerPartition: 50, noteBytes: 75, copies: 1 },
  single_133: { partitions: 240_000, rowsPerPartition: 1, noteBytes: 42, copies: 1 },
  wide_133: { partitions: 4800, rowsPerPartition: 50, noteBytes: 58, copies: 1 },
  merge_single: { partitions: 50_000, rowsPerPartition: 1, noteBytes: 59, copies: 10 },
  merge_wide: { partitions: 1000, rowsPerPartition: 50, noteBytes: 75, copies: 10 },
} as const satisfies Record<string, Shape>;
type ShapeName = keyof typeof SHAPES;

interface Series {
  readonly version: CassandraVersion;
  readonly format: 'big' | 'bti';
  readonly shapes: readonly ShapeName[];
}

const SERIES = {
  nb: {
    version: CassandraVersion.origin,
    format: 'big',
    shapes: ['single_150', 'wide_150', 'single_133', 'wide_133', 'merge_single', 'merge_wide'],
  },
  da: { version: CassandraVersion.target, format: 'bti', shapes: ['single_150', 'wide_150'] },
} as const satisfies Record<string, Series>;
type SeriesName = keyof typeof SERIES;

/** E.g. `nb_single_150`, `da_wide_150`, `nb_merge_wide`. */
export type BenchTableName = {
  [S in SeriesName]: `${S}_${(typeof SERIES)[S]['shapes'][number]}`;
}[SeriesName];

/** One table: a single SSTable, or the ten overlapping ones of a merge. */
export interface BenchTable {
  readonly name: BenchTableName;
  readonly dataPaths: readonly string[];
  readonly rowsPerPartition: number;
}

async function writeSeries(name: SeriesName, java: string, report: (line: string) => void): Promise<string> {
  const { version, format, shapes } = SERIES[name];
  const specs = shapes.map((shape) => {
    const { partitions, rowsPerPartition, noteBytes, copies } = SHAPES[shape];
    return [shape, partitions, rowsPerPartition, noteBytes, copies].join(':');
  });
  // The name holds what the data is made from: other shapes or another writer make other data.
  const hash = createHash('sha256')
    .update(JSON.stringify([version, format, specs]))
    .update(readFileSync(WRITER));
  const folder = join(cacheRoot, 'bench', `${name}-${hash.digest('hex').slice(0, 12)}`);
  if (existsSync(folder)) return folder;
  report(`Writing the tables of the benchmark with Cassandra ${version} …`);
  const partial = `${folder}.${process.pid}.partial`;
  mkdirSync(partial, { recursive: true });
  try {
    await runOrFail(`Writing the ${name} tables`, java, [
      ...benchJavaArguments(version, 1024, WRITER),
      partial,
      format,
      ...specs,
    ]);
    if (existsSync(folder)) rmSync(partial, { recursive: true });
    else renameSync(partial, folder);
  } catch (error) {
    rmSync(partial, { recursive: true, force: true });
    throw error;
  }
  return folder;
}

function findTable(folder: string, series: SeriesName, shape: ShapeName): BenchTable {
  const parent = join(folder, 'ks');
  const table = join(parent, readdirSync(parent).find((each) => each.replace(/-[0-9a-f]{32}$/, '') === shape)!);
  return {
    name: `${series}_${shape}` as BenchTableName,
    dataPaths: readdirSync(table)
      .filter((each) => each.endsWith('-Data.db'))
      .sort((a, b) => generationOf(a) - generationOf(b))
      .map((each) => join(table, each)),
    rowsPerPartition: SHAPES[shape].rowsPerPartition,
  };
}

function generationOf(dataName: string): number {
  return Number(dataName.split('-')[1]);
}

/**
 * Makes what is missing of the data and says where all of it is; takes half a minute the first time.
 *
 * @throws PrerequisiteError naming what is not installed; a JDK is needed, for its compiler
 */
export async function prepareBenchData(
  report: (line: string) => void,
): Promise<Readonly<Record<BenchTableName, BenchTable>>> {
  const { java } = await prepare(report);
  const tables: BenchTable[] = [];
  for (const series of Object.keys(SERIES) as SeriesName[]) {
    const folder = await writeSeries(series, java, report);
    for (const shape of SERIES[series].shapes) tables.push(findTable(folder, series, shape));
  }
  return Object.fromEntries(tables.map((table) => [table.name, table])) as Record<BenchTableName, BenchTable>;
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  const tables = await prepareBenchData((line) => process.stderr.write(`${line}\n`));
  for (const { name, dataPaths } of Object.values(tables)) process.stdout.write(`${name} ${dataPaths.join(' ')}\n`);
}
