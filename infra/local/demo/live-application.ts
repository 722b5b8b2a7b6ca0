import { type ChildProcess, spawn } from 'node:child_process';
import { join } from 'node:path';
import { RunFailedError } from '#core/errors.ts';
import { appLogin } from '../cluster-roles.ts';
import type { ApplicationReport, ToApplication } from './application-messages.ts';

/** The demo's view of its live application: the last report, and what to do when it sees an error. */
export class LiveApplication {
  readonly #child: ChildProcess;
  #report: ApplicationReport | undefined;
  #ended = false;

  /** @param onError called once, at the first error either client sees or when the process dies */
  constructor(host: string, port: number, onError: (error: Error) => void) {
    let told = false;
    const tell = (text: string): void => {
      if (told) return;
      told = true;
      onError(new RunFailedError(`the application saw an error: ${text}`));
    };
    const program = join(import.meta.dirname, 'application.ts');
    this.#child = spawn(process.execPath, [program, host, String(port), appLogin.username, appLogin.password], {
      stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
    });
    this.#child.on('message', (message: ApplicationReport) => {
      this.#report = message;
      if (message.errors > 0) tell(message.errorTexts.join('; '));
    });
    this.#child.on('error', (error) => tell(error.message));
    this.#child.on('exit', (code, signal) => {
      this.#ended = true;
      if (!this.#report?.final) tell(`its process ended (${signal ?? `exit code ${code}`})`);
    });
  }

  get report(): ApplicationReport | undefined {
    return this.#report;
  }

  get isRunning(): boolean {
    return !this.#ended;
  }

  enterPhase(phase: string): void {
    this.#send({ kind: 'phase', phase });
  }

  /** Lets it finish what it does, and resolves to its last report. */
  async stop(): Promise<ApplicationReport | undefined> {
    if (this.#ended) return this.#report;
    const ended = new Promise<void>((resolve) => this.#child.once('exit', () => resolve()));
    this.#send({ kind: 'stop' });
    const timer = setTimeout(() => this.#child.kill('SIGKILL'), 20_000);
    await ended;
    clearTimeout(timer);
    return this.#report;
  }

  /** Ends it at once: the story is over. */
  kill(): void {
    this.#child.kill('SIGKILL');
  }

  #send(message: ToApplication): void {
    if (this.#child.connected) this.#child.send(message);
  }
}
