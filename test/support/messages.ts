import type { ReplayMessage } from '#core/jobs/replay.ts';
import type { BreakerPort } from '#core/jobs/replay-breaker.ts';
import type { FailedWrite } from '#core/model/failed-write.ts';
import { decodeMessage, encodeMessage } from '#core/model/message.ts';

/** The writes of a message's body, in its order. */
export function writesOf(body: string): readonly FailedWrite[] {
  const message = decodeMessage(body);
  if (message.kind !== 'writes') throw new Error('it is no message of writes');
  return message.writes;
}

/** The first, for messages that have one. */
export function writeOf(body: string): FailedWrite {
  return writesOf(body)[0]!;
}

/** A message of these writes. */
export function messageOf(...writes: readonly FailedWrite[]): string {
  return encodeMessage({ kind: 'writes', instance: 'p1', enqueuedAt: '2026-01-02T03:04:05.678Z', writes });
}

/** Nothing is away. */
export const CLOSED_BREAKER: BreakerPort = {
  isOpen: async () => false,
  noteAway: async () => undefined,
  noteAnswered: async () => undefined,
};

/** As the queue delivers it. */
export function delivered(body: string, id = 'm1'): ReplayMessage {
  return { id, text: body, body: async () => body };
}
