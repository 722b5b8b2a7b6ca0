import type { Ledger } from '../ledger/ledger.ts';
import type { ReasonCode } from '../ledger/reasons.ts';
import type { ClusterName } from '../model/cluster-name.ts';
import type { WrittenTable } from '../model/failed-write.ts';
import type { Clock } from '../ports.ts';

/** What replaying could not bring to a cluster. */
export interface GivenUp {
  /** Of the mark: marked again, it is the same mark. */
  readonly id: string;
  readonly place: WrittenTable;
  readonly lacking: ClusterName | null;
  readonly code: ReasonCode;
  /** Never a value of the application. */
  readonly reason: string;
}

/** What a suspect record holds of single partitions. */
const MAX_TOKENS = 1024;

/** Marks a place, so that validation looks there, and its table. @throws LedgerUnavailableError */
export async function markGivenUp(
  { id, place, lacking, code, reason }: GivenUp,
  ports: { readonly ledger: Ledger; readonly clock: Clock },
): Promise<void> {
  const { keyspace, table, tokens = [] } = place;
  const now = new Date(ports.clock.nowMillis());
  for (let part = 0; part * MAX_TOKENS < Math.max(1, tokens.length); part++) {
    const own = tokens.slice(part * MAX_TOKENS, (part + 1) * MAX_TOKENS);
    await ports.ledger.addSuspect(part === 0 ? id : `${id}-${part}`, {
      version: 1,
      keyspace,
      table,
      range: null,
      ...(own.length === 0 ? {} : { tokens: own.map(String) }),
      reason,
      code,
      lacking,
      by: 'replay',
      at: now.toISOString(),
    });
  }
  await ports.ledger.setTable(keyspace, table, 'suspect', { now, by: 'replay', reason });
}
