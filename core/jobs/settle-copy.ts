/** What becomes of a message of places when they had their outcomes. Pure. */

import { type CopyMessage, encodeMessage } from '../model/message.ts';
import type { CopyResult } from './copy-places.ts';
import { type MessageOutcome, NO_COUNTS, type RetryRules, retryAfterSeconds, waitOf } from './replay-bundle.ts';

/** Before what there was no time for is taken up again. Seconds. */
const REST_DELAY_SECONDS = 1;

/** The outcome, and the places that have to be marked before it is acted on. */
export interface SettledCopy {
  readonly outcome: MessageOutcome;
  readonly marked: readonly bigint[];
}

/** What was not done comes again as a smaller message; what was refused too often is marked, and is no dead letter. */
export function settleCopy(
  id: string,
  message: CopyMessage,
  result: CopyResult,
  rules: RetryRules,
  nowMillis: number,
): SettledCopy {
  const { copied, refused, rest, dead, reason } = result;
  const isLast = message.attempts >= rules.maxAttempts;
  const marked = isLast ? [...dead, ...refused] : dead;
  const counts = {
    ...NO_COUNTS,
    copied: copied.length,
    refused: refused.length - (isLast ? refused.length : 0),
    dead: marked.length,
    away: rest.length,
  };
  const targetAnswered = copied.length + refused.length > 0;
  if (rest.length === message.tokens.length) {
    return { outcome: { id, remove: false, resend: [], bury: [], targetAnswered, reason, counts }, marked };
  }
  const resend: { body: string; delaySeconds: number }[] = [];
  if (rest.length > 0) {
    resend.push({ body: encodeMessage({ ...message, tokens: rest }), delaySeconds: REST_DELAY_SECONDS });
  }
  if (refused.length > 0 && !isLast) {
    const attempts = Math.max(1, message.attempts);
    const { delaySeconds, notBefore } = waitOf(retryAfterSeconds(attempts, rules), nowMillis);
    const again = withNotBefore({ ...message, tokens: refused, attempts: attempts + 1 }, notBefore);
    resend.push({ body: encodeMessage(again), delaySeconds });
  }
  return { outcome: { id, remove: true, resend, bury: [], targetAnswered, reason, counts }, marked };
}

/** A message that came before it may. */
export function settleEarlyCopy(
  id: string,
  message: CopyMessage,
  untilMillis: number,
  nowMillis: number,
): MessageOutcome {
  const { delaySeconds } = waitOf((untilMillis - nowMillis) / 1000, nowMillis);
  const resend = [{ body: encodeMessage(message), delaySeconds }];
  const counts = { ...NO_COUNTS, away: message.tokens.length };
  return { id, remove: true, resend, bury: [], targetAnswered: false, reason: 'it is to wait', counts };
}

function withNotBefore(message: CopyMessage, notBefore: string | undefined): CopyMessage {
  const { notBefore: _, ...rest } = message;
  return notBefore === undefined ? rest : { ...rest, notBefore };
}
