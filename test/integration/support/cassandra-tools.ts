/** Cassandra's own tools, many runs in one JVM: nodetool and sstabledump. */
import { type ChildProcessByStdio, spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import type { Readable, Writable } from 'node:stream';
import type { NodeSettings } from '../../../infra/local/cassandra-config.ts';
import { listJars, toolArguments } from '../../../infra/local/java-command.ts';
import { cacheRoot, jarFolder } from '../../../infra/local/paths.ts';
import { runOrFail } from '../../../infra/local/processes.ts';
import { CassandraVersion } from '../../../infra/local/versions.ts';

const SOURCE = join(import.meta.dirname, 'CassandraTools.java');

/** The compiled harness; a JRE is enough, since Cassandra brings a compiler. */
async function compileHarness(java: string): Promise<string> {
  const hash = createHash('sha256').update(readFileSync(SOURCE)).digest('hex').slice(0, 16);
  const folder = join(cacheRoot, 'test-tools', hash);
  if (existsSync(folder)) return folder;
  const partial = `${folder}.${process.pid}`;
  mkdirSync(partial, { recursive: true });
  const compiler = listJars(jarFolder(CassandraVersion.target)).find((jar) => /\/ecj-[^/]+\.jar$/.test(jar));
  if (compiler === undefined) throw new Error(`Cassandra ${CassandraVersion.target} came without its compiler`);
  const main = 'org.eclipse.jdt.internal.compiler.batch.Main';
  await runOrFail('Compiling', java, ['-cp', compiler, main, '-11', '-nowarn', '-d', partial, SOURCE]);
  // Another run may have been quicker.
  if (existsSync(folder)) rmSync(partial, { recursive: true });
  else renameSync(partial, folder);
  return folder;
}

/** One JVM of a node's version; its calls are made one after another. */
export class CassandraTools {
  readonly #node: NodeSettings;
  readonly #child: ChildProcessByStdio<Writable, Readable, null>;
  readonly #answers: AsyncIterator<string>;
  /** Of its own: several may be there for one node. */
  readonly #folder = mkdtempSync(join(tmpdir(), 'ringshift-tool-'));
  #last: Promise<unknown> = Promise.resolve();

  private constructor(node: NodeSettings, child: ChildProcessByStdio<Writable, Readable, null>) {
    this.#node = node;
    this.#child = child;
    // Of a JVM that is gone: whoever waits for its answer hears of the end.
    child.stdin.on('error', () => undefined);
    this.#answers = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  }

  /** @param node whose configuration the tools read; it need not run for sstabledump */
  static async start(java: string, node: NodeSettings): Promise<CassandraTools> {
    const classes = await compileHarness(java);
    const jars = [classes, ...listJars(jarFolder(node.version))];
    const flags = ['-Djava.security.manager=allow', '-Dorg.apache.cassandra.disable_mbean_registration=true'];
    const args = [...flags, ...toolArguments(node, jars, 'CassandraTools', [])];
    return new CassandraTools(node, spawn(java, args, { stdio: ['pipe', 'pipe', 'ignore'] }));
  }

  nodetool(...args: string[]): Promise<string> {
    return this.nodetoolOf(this.#node, ...args);
  }

  /** Of another node of the same version. */
  nodetoolOf(node: NodeSettings, ...args: string[]): Promise<string> {
    return this.#run('org.apache.cassandra.tools.NodeTool', ['-h', '127.0.0.1', '-p', `${node.jmxPort}`, ...args]);
  }

  /** The JSON text, with raw times. */
  sstabledump(dataFile: string): Promise<string> {
    return this.#run('org.apache.cassandra.tools.SSTableExport', [dataFile, '-t']);
  }

  #run(mainClass: string, args: readonly string[]): Promise<string> {
    const run = this.#last.then(async () => {
      const file = join(this.#folder, 'output');
      this.#child.stdin.write(`${[file, mainClass, ...args].join('\t')}\n`);
      const answer = await this.#answers.next();
      if (answer.done || answer.value !== '0') {
        const texts = [file, `${file}.err`].map((name) => (existsSync(name) ? readFileSync(name, 'utf8') : ''));
        throw new Error(
          `${mainClass} ${args.join(' ')} on ${this.#node.name} failed:\n${texts.join('\n').slice(-4000)}`,
        );
      }
      return readFileSync(file, 'utf8');
    });
    this.#last = run.catch(() => undefined);
    return run;
  }

  /** Calls it once the JVM is gone. */
  onEnd(listener: () => void): void {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) listener();
    else if (this.#child.listenerCount('exit') === 0) this.#child.once('exit', listener);
  }

  stop(): void {
    this.#child.stdin.end();
    this.#child.kill('SIGKILL');
    rmSync(this.#folder, { recursive: true, force: true });
  }
}
