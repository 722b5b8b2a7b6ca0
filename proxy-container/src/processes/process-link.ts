import cluster from 'node:cluster';
import type { AdminSubject, PhaseRequest } from '../admin/admin-subject.ts';
import type { PreparedStatements, PreparedText } from '../requests/prepared-statements.ts';
import { type FromProcess, type Question, sendError, type ToProcess } from './messages.ts';

/** Of a process that knows more, a new one learns the rest as its clients prepare it again. */
const MAX_SHARED = 5000;
const MAX_SHARED_LENGTH = 64 * 1024;

/** The end of a process: answers what the host asks, and ends with it. */
export class ProcessLink {
  readonly #subject: AdminSubject;

  /** @param onOrphaned called when the host is gone; it no longer hands over clients */
  constructor(subject: AdminSubject, prepared: PreparedStatements, onOrphaned: () => void) {
    this.#subject = subject;
    prepared.onNew = (statement) => this.#tellPrepared([statement]);
    process.on('message', (message: ToProcess) => {
      if (message.kind === 'question') void this.#answer(message);
      else if (message.kind === 'prepared') prepared.learn(message.statements);
      else this.#tellPrepared(prepared.recent(MAX_SHARED));
    });
    cluster.worker?.on('disconnect', () => {
      // Without this mark the process would be ended at once, in the middle of its requests.
      if (cluster.worker) cluster.worker.exitedAfterDisconnect = true;
      onOrphaned();
    });
  }

  /** Tells the host that this process takes clients. */
  sayReady(port: number): void {
    this.#send({ kind: 'ready', port });
  }

  #tellPrepared(statements: readonly PreparedText[]): void {
    const short = statements.filter(({ text }) => text.length <= MAX_SHARED_LENGTH);
    if (short.length > 0) this.#send({ kind: 'prepared', statements: short });
  }

  async #answer({ id, verb, argument }: Question): Promise<void> {
    try {
      this.#send({ kind: 'answer', id, value: await this.#subject[verb](argument as PhaseRequest) });
    } catch (error) {
      this.#send({ kind: 'answer', id, error: sendError(error) });
    }
  }

  #send(message: FromProcess): void {
    // Gone meanwhile: then nobody waits for it.
    if (process.connected) process.send?.(message, undefined, undefined, () => undefined);
  }
}
