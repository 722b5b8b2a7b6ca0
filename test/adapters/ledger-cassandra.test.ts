import { expect, test } from 'vitest';
import { createCassandraLedgerStore } from '#adapters/ledger-cassandra.ts';
import { decodeText, decodeUuid } from '#core/cql/value-codec.ts';
import { LedgerConflictError, LedgerUnavailableError, RequestTimeoutError } from '#core/errors.ts';
import type { BoundValue, ResultPage } from '#core/model/cql-request.ts';
import type { CqlSession } from '#core/ports.ts';

type Fate = 'answered' | 'applied, then lost' | 'lost' | 'lost, applied later';

/** A cluster of one record, whose conditional writes meet these fates in turn. */
function clusterOf(fates: Fate[]) {
  let record: { value: Uint8Array; version: string } | undefined;
  let late: (() => void) | undefined;
  const page = (rows: ResultPage['rows']): ResultPage => ({ columns: [], rows });
  const session = {
    protocolVersion: 5,
    prepare: async (text: string) => ({ text, id: new Uint8Array() }),
    async execute({ text }: { text: string }, values: readonly BoundValue[]): Promise<ResultPage> {
      if (text.startsWith('SELECT')) {
        const found = page(record ? [[record.value, Buffer.from(record.version.replaceAll('-', ''), 'hex')]] : []);
        late?.();
        late = undefined;
        return found;
      }
      if (!text.includes(' IF ')) return page([]);
      const run = (): boolean => {
        if (text.startsWith('INSERT')) {
          if (record) return false;
          record = { value: values[1]!, version: decodeUuid(values[2]!) };
          return true;
        }
        const expected = text.startsWith('UPDATE') ? values[3]! : values[1];
        if (expected ? record?.version !== decodeUuid(expected) : !record) return false;
        record = text.startsWith('UPDATE') ? { value: values[0]!, version: decodeUuid(values[1]!) } : undefined;
        return true;
      };
      const fate = fates.shift() ?? 'answered';
      if (fate === 'lost, applied later') late = run;
      if (fate === 'applied, then lost') run();
      if (fate !== 'answered') throw new RequestTimeoutError('no answer');
      return page([[Uint8Array.of(run() ? 1 : 0)]]);
    },
    close: async () => undefined,
  } as unknown as CqlSession;
  const store = createCassandraLedgerStore({
    openSession: async () => session,
    keyspace: 'ringshift',
    serial: 'LOCAL_SERIAL',
    consistency: 'LOCAL_QUORUM',
  });
  return { store, fates, value: () => record && decodeText(record.value) };
}

test.each<Fate>(['applied, then lost', 'lost', 'lost, applied later'])(
  'a change that nobody answered (%s) is made once, and is no conflict with itself',
  async (fate) => {
    const { store, fates, value } = clusterOf([fate]);
    const first = await store.put('phase.json', '1', null);
    expect((await store.get('phase.json'))?.version).toBe(first);
    fates.push(fate);
    const second = await store.put('phase.json', '2', first);
    expect(await store.get('phase.json')).toEqual({ value: '2', version: second });
    fates.push(fate);
    await store.remove('phase.json', second);
    expect(value()).toBeUndefined();
  },
);

test('when somebody else came first it is a conflict', async () => {
  const { store, fates } = clusterOf([]);
  const first = await store.put('phase.json', '1', null);
  await store.put('phase.json', '2', first);
  fates.push('lost');
  await expect(store.put('phase.json', '3', first)).rejects.toBeInstanceOf(LedgerConflictError);
});

test('a cluster that never answers is told as one', async () => {
  const { store } = clusterOf(Array.from({ length: 9 }, () => 'lost' as const));
  await expect(store.put('phase.json', '1', null)).rejects.toBeInstanceOf(LedgerUnavailableError);
});
