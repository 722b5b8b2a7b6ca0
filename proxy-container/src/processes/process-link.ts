import cluster from 'node:cluster';
import type { AdminSubject, PhaseRequest } from '../admin/admin-subject.ts';
import { type FromProcess, type Question, sendError } from './messages.ts';

/** The end of a process: answers what the host asks, and ends with it. */
export class ProcessLink {
  readonly #subject: AdminSubject;

  /** @param onOrphaned called when the host is gone; it no longer hands over clients */
  constructor(subject: AdminSubject, onOrphaned: () => void) {
    this.#subject = subject;
    process.on('message', (message: Question) => {
      if (message.kind === 'question') void this.#answer(message);
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
