import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, expect, test } from 'vitest';
import { parseMigrationConfig } from '#core/config/parse.ts';
import { ledgerMetrics } from '../../../proxy-container/src/admin/ledger-metrics.ts';
import { openStores } from '../../../proxy-container/src/processes/open-stores.ts';

const directory = mkdtempSync(join(tmpdir(), 'ringshift-stores-'));
afterEach(() => rmSync(directory, { recursive: true, force: true }));

test("operations of a proxy's ledger are counted, timed, and told at the level debug", async () => {
  const lines: unknown[] = [];
  const debug = (message: string, fields?: object): void => void lines.push({ message, ...fields });
  const silent = (): void => undefined;
  const config = parseMigrationConfig(
    `origin: { hosts: [a] }\ntarget: { hosts: [b] }\nledger: { kind: file, path: ${directory} }\n`,
    'm.yaml',
    {},
  );
  const { ledger, counters } = await openStores(config, 'me', { debug, info: silent, warn: silent, error: silent });
  await ledger.store.put('a.json', '{}', null);
  await expect(ledger.store.put('a.json', '{}', null)).rejects.toThrow();
  await ledger.store.get('a.json');

  const samples = ledgerMetrics.flatMap(({ name, read }) =>
    read(counters).map(([series, value]) => [name + series, value]),
  );
  const values = new Map(samples as [string, number][]);
  expect(values.get('ringshift_ledger_operations_total{op="put",outcome="ok"}')).toBe(1);
  expect(values.get('ringshift_ledger_operations_total{op="put",outcome="conflict"}')).toBe(1);
  expect(values.get('ringshift_ledger_operations_total{op="get",outcome="ok"}')).toBe(1);
  expect(values.get('ringshift_ledger_operations_total{op="get",outcome="error"}')).toBe(0);
  expect(values.get('ringshift_ledger_operation_duration_seconds_count{op="put"}')).toBe(2);
  expect(values.get('ringshift_ledger_conflicts_total')).toBe(1);
  expect(lines).toMatchObject([
    { operation: 'put', key: 'a.json', outcome: 'ok', durationMs: expect.any(Number) },
    { operation: 'put', key: 'a.json', outcome: 'conflict' },
    { operation: 'get', key: 'a.json', outcome: 'ok' },
  ]);
});
