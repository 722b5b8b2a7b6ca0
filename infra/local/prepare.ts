/** Fetches what local runs need beside the node modules, once: Cassandra's jars and a Python environment. */
import { existsSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { describeError, PrerequisiteError } from '#core/errors.ts';
import { cacheRoot, jarFolder, venvFolder } from './paths.ts';
import { describeMissing, findJava17, missingPrerequisites } from './prerequisites.mjs';
import { runOrFail } from './processes.ts';
import { CassandraVersion, pythonRequirements } from './versions.ts';

const NETWORK_REMEDY = 'Check the network (and the proxy or mirror settings), then run the same command again.';

/** A Maven project whose dependencies are one Cassandra server; 4.1 names a driver for its tools that it leaves out. */
export function cassandraPom(version: string): string {
  const driver = version.startsWith('4.')
    ? `
    <dependency>
      <groupId>com.datastax.cassandra</groupId><artifactId>cassandra-driver-core</artifactId>
      <version>3.11.5</version><classifier>shaded</classifier>
      <exclusions><exclusion><groupId>*</groupId><artifactId>*</artifactId></exclusion></exclusions>
    </dependency>`
    : '';
  return `<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>ringshift.local</groupId><artifactId>cassandra-${version}</artifactId><version>1</version>
  <packaging>pom</packaging>
  <dependencies>
    <dependency>
      <groupId>org.apache.cassandra</groupId><artifactId>cassandra-all</artifactId><version>${version}</version>
    </dependency>${driver}
  </dependencies>
</project>
`;
}

/** A step whose stamp holds what it was made from: other contents, or none, mean that it must be done (again). */
async function once(
  name: string,
  stampFile: string,
  contents: string,
  report: (line: string) => void,
  work: () => Promise<void>,
): Promise<void> {
  if (existsSync(stampFile) && readFileSync(stampFile, 'utf8') === contents) return;
  const started = Date.now();
  report(`${name} …`);
  await work();
  writeFileSync(stampFile, contents);
  report(`${name}: done in ${((Date.now() - started) / 1000).toFixed(0)} s`);
}

/**
 * Fetches the jars of one Cassandra version; costs nothing when they are there.
 * @throws PrerequisiteError when Maven can't
 */
export async function fetchCassandra(version: string, report: (line: string) => void): Promise<void> {
  const folder = jarFolder(version);
  const pom = cassandraPom(version);
  await once(`Fetching Cassandra ${version} from Maven Central`, join(folder, '.complete'), pom, report, async () => {
    const partial = `${folder}.partial`;
    rmSync(partial, { recursive: true, force: true });
    rmSync(folder, { recursive: true, force: true });
    mkdirSync(partial, { recursive: true });
    const pomFile = join(partial, 'pom.xml');
    writeFileSync(pomFile, pom);
    await runOrFail(
      `Fetching Cassandra ${version}`,
      'mvn',
      ['-q', '-B', '-f', pomFile, 'dependency:copy-dependencies', `-DoutputDirectory=${partial}`],
      { remedy: NETWORK_REMEDY },
    );
    renameSync(partial, folder);
  });
}

async function createVenv(report: (line: string) => void): Promise<void> {
  const wanted = `${pythonRequirements.join('\n')}\n`;
  await once('Installing the local AWS and cqlsh', join(venvFolder, '.complete'), wanted, report, async () => {
    rmSync(venvFolder, { recursive: true, force: true });
    await runOrFail('Creating the Python environment', 'python3', ['-m', 'venv', venvFolder], {
      remedy: 'Python needs its venv module (Debian: apt install python3-venv).',
    });
    const pip = join(venvFolder, 'bin', 'python');
    await runOrFail(
      'Installing the Python packages',
      pip,
      ['-m', 'pip', 'install', '--quiet', '--disable-pip-version-check', ...pythonRequirements],
      { remedy: NETWORK_REMEDY },
    );
  });
}

/**
 * Makes `.ringshift/` complete; costs nothing when it already is.
 * @returns the Java 17 to run Cassandra with
 * @throws PrerequisiteError naming everything that is missing, or the installation that failed
 */
export async function prepare(report: (line: string) => void): Promise<{ java: string }> {
  const missing = missingPrerequisites();
  const java = findJava17();
  if (missing.length > 0 || java === undefined) throw new PrerequisiteError(describeMissing(missing));
  mkdirSync(join(cacheRoot, 'cassandra'), { recursive: true });
  const results = await Promise.allSettled([
    // Two Mavens at once would write the same local repository.
    fetchCassandra(CassandraVersion.origin, report).then(() => fetchCassandra(CassandraVersion.target, report)),
    createVenv(report),
  ]);
  for (const result of results) if (result.status === 'rejected') throw result.reason;
  return { java };
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  try {
    await prepare((line) => process.stdout.write(`${line}\n`));
  } catch (error) {
    process.stderr.write(`${describeError(error)}\n`);
    process.exitCode = error instanceof PrerequisiteError ? 2 : 1;
  }
}
