import cluster, { type Worker } from 'node:cluster';
import type { MetricFamily } from '../admin/metric-family.ts';
import { NoProcessError } from '../admin/no-process-error.ts';
import { type FromProcess, type Prepared, receiveError, type ToProcess, type Verb } from './messages.ts';
import { type ProcessPlace, placeVariable } from './process-place.ts';

interface Waiting {
  resolve(value: unknown): void;
  reject(error: unknown): void;
}

/** One child process of the host, from its start to its end. */
export class ProxyWorker {
  readonly index: number;
  readonly startedMs = performance.now();
  /** What its metrics were when they were last looked at. */
  lastMetrics: readonly MetricFamily[] = [];
  readonly #worker: Worker;
  readonly #waiting = new Map<number, Waiting>();
  #nextId = 1;
  #port: number | undefined;
  #isGone = false;

  constructor(
    place: ProcessPlace,
    events: {
      onReady(): void;
      onPrepared(message: Prepared): void;
      onExit(code: number | null, signal: string | null): void;
    },
  ) {
    this.index = place.index;
    this.#worker = cluster.fork(placeVariable(place));
    this.#worker.on('message', (message: FromProcess) => {
      if (message.kind === 'answer') {
        const waiting = this.#waiting.get(message.id);
        this.#waiting.delete(message.id);
        if ('error' in message) waiting?.reject(receiveError(message.error));
        else waiting?.resolve(message.value);
      } else if (message.kind === 'prepared') events.onPrepared(message);
      else {
        this.#port = message.port;
        events.onReady();
      }
    });
    const gone = (code: number | null, signal: string | null): void => {
      if (this.#isGone) return;
      this.#isGone = true;
      for (const { reject } of this.#waiting.values()) reject(new NoProcessError('the process has ended meanwhile'));
      this.#waiting.clear();
      events.onExit(code, signal);
    };
    this.#worker.on('exit', gone);
    this.#worker.on('error', () => {
      // A process that could not be started has no exit either.
      if (this.#worker.process.pid === undefined) gone(1, null);
    });
  }

  get pid(): number | undefined {
    return this.#worker.process.pid;
  }

  /** Where it takes clients; undefined before it does. */
  get port(): number | undefined {
    return this.#isGone ? undefined : this.#port;
  }

  /**
   * Asks it; `timeoutMs` where an answer without it is better than none.
   * @throws what the process threw, NoProcessError when it has ended or does not answer in time
   */
  ask<T>(verb: Verb, argument?: unknown, timeoutMs?: number): Promise<T> {
    if (this.#isGone) return Promise.reject(new NoProcessError('the process has ended'));
    const id = this.#nextId++;
    return new Promise<T>((resolve, reject) => {
      const late = (): void => {
        this.#waiting.delete(id);
        reject(new NoProcessError('a process did not answer in time'));
      };
      const timer = timeoutMs === undefined ? undefined : setTimeout(late, timeoutMs);
      this.#waiting.set(id, {
        resolve: (value) => {
          clearTimeout(timer);
          resolve(value as T);
        },
        reject: (error) => {
          clearTimeout(timer);
          reject(error);
        },
      });
      this.send({ kind: 'question', id, verb, argument });
    });
  }

  send(message: ToProcess): void {
    if (!this.#isGone && this.#worker.isConnected()) this.#worker.send(message, () => undefined);
  }

  kill(signal: 'SIGTERM' | 'SIGKILL'): void {
    if (!this.#isGone) this.#worker.process.kill(signal);
  }
}
