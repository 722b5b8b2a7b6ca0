import type { FailedWriteQueue } from '#core/ports.ts';

/**
 * A queue that is opened when it is first used, and again when that failed: one that can't be opened is away like any
 * other, and the journal keeps what it is to get.
 */
export function queueWhenOpen(open: () => Promise<FailedWriteQueue>): FailedWriteQueue {
  let opened: Promise<FailedWriteQueue> | undefined;
  const queue = (): Promise<FailedWriteQueue> => {
    opened ??= open().catch((error: unknown) => {
      opened = undefined;
      throw error;
    });
    return opened;
  };
  return {
    send: async (messages, signal) => (await queue()).send(messages, signal),
    depth: async () => (await queue()).depth(),
  };
}
