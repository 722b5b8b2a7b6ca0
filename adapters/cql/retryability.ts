import type { PreparedMessage } from '#core/cql/result-message.ts';
import type { RequestOptions } from '#core/ports.ts';
import { isMutation, listOperationsOf, type Statement } from '#core/statement/statement.ts';
import type { Retryability } from './retry.ts';

/** A statement with the markers that the server knows, when it is prepared. */
interface Known {
  readonly statement: Statement;
  readonly message?: PreparedMessage;
}

/** What a request may do after a failure; a caller that knows the columns' types may say more with `idempotent`. */
export function retryabilityOf(known: readonly Known[], options: RequestOptions): Retryability {
  if (options.idempotent !== undefined) return { isIdempotent: options.idempotent, isNeverRepeated: false };
  const isNeverRepeated = known.some(hasUnsafeOperation);
  const isTimestamped = options.timestampMicros !== undefined;
  return {
    isIdempotent: !isNeverRepeated && known.every((one) => isIdempotent(one, isTimestamped)),
    isNeverRepeated,
  };
}

function isIdempotent({ statement, message }: Known, isTimestamped: boolean): boolean {
  if (statement.isRead) return true;
  if (!isMutation(statement) || statement.isLwt) return false;
  if (statement.nonDeterministic.length > 0 || statement.unknownFunctions.length > 0) return false;
  // The protocol does not tell frozen lists from others, so every bound list counts.
  const bindsList = message?.markers.some(({ type }) => type.kind === 'list') ?? false;
  return !bindsList && (isTimestamped || statement.usingTimestamp !== undefined);
}

/** Increments and list operations; additions to a set or map, known by the marker's type, are none. */
function hasUnsafeOperation({ statement, message }: Known): boolean {
  return listOperationsOf(statement).some(({ operation, term }) => {
    const marker = term.kind === 'marker' ? message?.markers[term.index] : undefined;
    const isSafeType = marker?.type.kind === 'set' || marker?.type.kind === 'map';
    return !(isSafeType && (operation === 'add' || operation === 'subtract'));
  });
}
