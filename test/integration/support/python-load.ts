/** The Python driver as an application that works on and on, round by round. */
import { type ChildProcessByStdio, spawn } from 'node:child_process';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import type { Readable, Writable } from 'node:stream';
import { projectRoot, venvPython } from '../../../infra/local/paths.ts';
import type { Work } from './steady-load.ts';

const PROGRAM = join(projectRoot, 'test', 'drivers', 'python', 'steady_load.py');

export class PythonLoad {
  readonly #child: ChildProcessByStdio<Writable, Readable, Readable>;
  readonly #answers: AsyncIterator<string>;
  readonly #ended: Promise<void>;
  #errors = '';

  private constructor(args: readonly string[]) {
    this.#child = spawn(venvPython, ['-B', PROGRAM, ...args], { stdio: ['pipe', 'pipe', 'pipe'] });
    // A program that has died can't be asked; the end of its output says so.
    this.#child.stdin.on('error', () => undefined);
    this.#child.stderr.on('data', (chunk: Buffer) => {
      this.#errors = `${this.#errors}${chunk.toString()}`.slice(-4000);
    });
    this.#answers = createInterface({ input: this.#child.stdout })[Symbol.asyncIterator]();
    this.#ended = new Promise((resolve) => this.#child.once('close', () => resolve()));
  }

  /**
   * Resolves when it is connected: it writes `row` through the first host and reads it through the second.
   * @throws Error with what the program said
   */
  static async start(place: {
    readonly hosts: readonly [string, string];
    readonly port: number;
    readonly username: string;
    readonly password: string;
    readonly keyspace: string;
    readonly row: number;
  }): Promise<PythonLoad> {
    const { hosts, port, username, password, keyspace, row } = place;
    const load = new PythonLoad([String(port), username, password, keyspace, String(row), ...hosts]);
    await load.#answer();
    return load;
  }

  /** One round of writes, each read again, and a scan of a table of so many rows. */
  round(scannedRows: number): Work {
    return async () => {
      this.#child.stdin.write(`${scannedRows}\n`);
      const fault = await this.#answer();
      if (fault !== null) throw new Error(`Python: ${String(fault)}`);
    };
  }

  async end(): Promise<void> {
    this.#child.stdin.end();
    await this.#ended;
  }

  async #answer(): Promise<unknown> {
    const { value, done } = await this.#answers.next();
    if (done) throw new Error(`the Python program ended: ${this.#errors}`);
    return JSON.parse(value) as unknown;
  }
}
