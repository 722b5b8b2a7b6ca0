/** The checks of the Java driver as a program: fetched and compiled once. */
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { listJars } from '../../../infra/local/java-command.ts';
import { cacheRoot, jarFolder, projectRoot } from '../../../infra/local/paths.ts';
import { findJava17 } from '../../../infra/local/prerequisites.mjs';
import { runOrFail } from '../../../infra/local/processes.ts';
import { CassandraVersion } from '../../../infra/local/versions.ts';

const project = join(projectRoot, 'test', 'drivers', 'java');
const sourceFolder = join(project, 'src', 'main', 'java', 'drivers');

export const javaSources = readdirSync(sourceFolder).map((name) => join(sourceFolder, name));

export interface JavaProgram {
  readonly command: string;
  readonly args: readonly string[];
}

/** A folder whose name says what it was made from; nobody sees it half made. */
async function once(
  name: string,
  files: readonly string[],
  make: (folder: string) => Promise<unknown>,
): Promise<string> {
  const hash = createHash('sha256');
  for (const file of files) hash.update(readFileSync(file));
  const folder = join(cacheRoot, 'drivers', `${name}-${hash.digest('hex').slice(0, 16)}`);
  if (existsSync(folder)) return folder;
  const partial = `${folder}.${process.pid}`;
  mkdirSync(partial, { recursive: true });
  await make(partial);
  // Another run may have been quicker.
  if (existsSync(folder)) rmSync(partial, { recursive: true });
  else renameSync(partial, folder);
  return folder;
}

/** Command and arguments up to the program's own. A JRE is enough, since Cassandra brings a compiler. */
export async function buildJavaProgram(): Promise<JavaProgram> {
  const java = findJava17();
  if (java === undefined) throw new Error('Java 17 is missing');
  const pom = join(project, 'pom.xml');
  const jars = await once('java-jars', [pom], (folder) =>
    runOrFail('Fetching the Java driver', 'mvn', [
      ...['-q', '-B', '-f', pom, 'dependency:copy-dependencies', `-DoutputDirectory=${folder}`],
    ]),
  );
  const compiler = listJars(jarFolder(CassandraVersion.target)).find((jar) => /\/ecj-[^/]+\.jar$/.test(jar));
  if (compiler === undefined) throw new Error(`Cassandra ${CassandraVersion.target} came without its compiler`);
  const classPath = listJars(jars).join(':');
  const classes = await once('java-classes', [pom, ...javaSources], (folder) =>
    runOrFail('Compiling', java, [
      ...['-cp', compiler, 'org.eclipse.jdt.internal.compiler.batch.Main', '-11', '-nowarn'],
      ...['-classpath', classPath, '-d', folder, ...javaSources],
    ]),
  );
  const flags = [
    '-Xmx256m',
    '-XX:TieredStopAtLevel=1',
    '-XX:+UseSerialGC',
    '-Dorg.slf4j.simpleLogger.defaultLogLevel=error',
  ];
  return { command: java, args: [...flags, '-cp', `${classes}:${classPath}`, 'drivers.Main'] };
}
