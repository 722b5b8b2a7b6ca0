/** The queue of failed writes as those who replay it see it: in SQS, or in a directory. */

import type { FailedWriteQueue } from '#core/ports.ts';

/** A message as a consumer has it. */
export interface ReceivedMessage {
  readonly id: string;
  /** What names this delivery to the queue. */
  readonly receiptHandle: string;
  /** As it was sent; a pointer where the true body lies elsewhere, see `ReplayQueue.resolve`. */
  readonly body: string;
  /** 1 for the first delivery. */
  readonly receiveCount: number;
  /** Milliseconds since the epoch; of a message that was sent again, when that was. */
  readonly sentAtMillis: number;
}

/** A message that no later try could help. */
export interface DeadMessage {
  readonly id: string;
  readonly body: string;
  /** Absent where the queue itself gave it up. */
  readonly reason?: string;
}

/** What became of the dead letters. */
export interface Redriven {
  readonly moved: number;
  readonly left: number;
}

export interface ReplayQueue extends FailedWriteQueue {
  /** At most `limit`, and at most ten, which nobody else gets for some minutes; none when nothing is due. */
  receive(limit: number, signal?: AbortSignal): Promise<readonly ReceivedMessage[]>;
  /** The true body. @throws MessageInvalidError when it is gone; ObjectStoreError when it can't be had now */
  resolve(body: string, signal?: AbortSignal): Promise<string>;
  /** Ends messages. */
  remove(messages: readonly ReceivedMessage[]): Promise<void>;
  /** Shows messages to consumers again after so long. */
  hide(messages: readonly ReceivedMessage[], seconds: number): Promise<void>;
  sendAgain(body: string, delaySeconds: number): Promise<void>;
  /** Puts it among the dead letters. */
  bury(dead: DeadMessage): Promise<void>;
  /** Some of the dead letters, at most `limit`; they stay where they are. */
  peekDeadLetters(limit: number, signal?: AbortSignal): Promise<readonly DeadMessage[]>;
  /**
   * Puts dead letters back, each as `edit` gives it. One is removed only after it was sent. Resolves to how many were
   * moved, and about how many are left, held by somebody who looks at them.
   * @throws whatever `edit` throws, before anything of that message is changed
   */
  redriveDeadLetters(edit: (body: string) => Promise<string>, signal?: AbortSignal): Promise<Redriven>;
  close(): void;
}
