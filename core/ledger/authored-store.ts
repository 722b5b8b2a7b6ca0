import type { LedgerStore } from '../ports.ts';

/** Who changes the ledger, and what for. */
export interface Author {
  /** Such as `ringshift phase`, or the name of a proxy. */
  readonly by: string;
  readonly why: string;
}

/** Notes in each record that is an object who wrote it last, when and why, as `_change`; its `id` is of this write alone. */
export function withAuthor(store: LedgerStore, author: Author, ports: ChangePorts): LedgerStore {
  return { ...store, put: (key, value, version) => store.put(key, signed(value, author, ports), version) };
}

export interface ChangePorts {
  readonly now: () => Date;
  readonly newId: () => string;
}

function signed(value: string, { by, why }: Author, { now, newId }: ChangePorts): string {
  const record: unknown = JSON.parse(value);
  if (typeof record !== 'object' || record === null || Array.isArray(record)) return value;
  return JSON.stringify({ ...record, _change: { id: newId(), by, at: now().toISOString(), why } });
}
