import { expect, test } from 'vitest';
import { indexListSchema } from '#core/config/index-list.ts';
import { parseYamlAs } from '#core/config/parse.ts';
import { ConfigError } from '#core/errors.ts';
import { chooseIndexes, type IndexChoice } from '#core/jobs/choose-indexes.ts';
import type { SavedIndexes } from '#core/ledger/saved-indexes.ts';
import type { IndexDefinition } from '#core/model/index-definition.ts';

const index = (table: string, name: string, target = 'a'): IndexDefinition => ({
  keyspace: 'ks',
  table,
  name,
  kind: 'COMPOSITES',
  options: { target },
});
const all = [index('t', 't_a'), index('t', 't_b'), index('u', 'u_a'), index('elsewhere', 'e_a')];
const loaded = ['t', 'u', 'v'].map((table) => ({ keyspace: 'ks', table }));
const listOf = (yaml: string) => parseYamlAs(indexListSchema, yaml, 'indexes.yaml', {});
const choose = (change: Partial<IndexChoice>, indexes = all) => {
  const choice = { setting: 'rebuild', list: undefined, targetServesReads: false, owed: [], ...change } as const;
  const { rebuilt, warnings } = chooseIndexes(choice, loaded, indexes);
  return { names: rebuilt.map(({ name }) => name), warnings };
};

test('without a list every index of the loaded tables is rebuilt, and no other', () => {
  expect(choose({})).toEqual({ names: ['t_a', 't_b', 'u_a'], warnings: [] });
});

test('an empty list rebuilds none and says what stays', () => {
  const { names, warnings } = choose({ list: listOf('[]') });
  expect(names).toEqual([]);
  expect(warnings).toEqual([expect.stringContaining('t_a on t, t_b on t, u_a on u')]);
});

test('a list names indexes one by one or all of a table', () => {
  const list = listOf('- { keyspace: ks, table: t, name: t_b }\n- { keyspace: ks, table: u, all: true }\n');
  const { names, warnings } = choose({ list });
  expect(names).toEqual(['t_b', 'u_a']);
  expect(warnings).toEqual([expect.stringMatching(/t_a on t \(not in the list/)]);
});

test('a named index that the target lacks is a fault unless it is optional or its table is not loaded', () => {
  const list = listOf(
    `- { keyspace: ks, table: t, name: gone }
- { keyspace: ks, table: t, name: gone_too, optional: true }
- { keyspace: ks, table: not_loaded, name: x }
- { keyspace: ks, table: v, all: true }
- { keyspace: ks, table: u, name: lost }
`,
  );
  const caught = (() => {
    try {
      return choose({ list });
    } catch (error) {
      return error;
    }
  })();
  expect(caught).toBeInstanceOf(ConfigError);
  expect((caught as ConfigError).issues.map(({ path, message }) => `${path} ${message.split(' ')[0]}`)).toEqual([
    '0 ks.t',
    '4 ks.u',
  ]);
});

const owedOf = (table: string, ...names: string[]): SavedIndexes => ({
  ...{ version: 1, keyspace: 'ks', table, runId: 'r0', state: 'restoring', updatedAt: '2026-01-01T00:00:00Z' },
  indexes: names.map((name) => ({
    ...{ name, kind: 'COMPOSITES', options: { target: 'a' }, statement: `CREATE INDEX ${name} …` },
    ...{ state: 'failed', createdAt: null, error: 'refused' },
  })),
});

test('what an ended load owes of a loaded table is brought back by this one, and a list may name it', () => {
  const owed = [owedOf('t', 't_gone', 't_a')];
  const warning = expect.stringMatching(/load r0 has dropped indexes of ks\.t .*\(t_gone, t_a\); this load brings/);
  expect(choose({ owed })).toEqual({ names: ['t_a', 't_b', 'u_a', 't_gone'], warnings: [warning] });
  const { names, warnings } = choose({ owed, list: listOf('- { keyspace: ks, table: t, name: t_gone }\n') });
  expect(names).toEqual(['t_gone']);
  expect(warnings).toContainEqual(warning);
});

test('what an ended load owes elsewhere, or of a load that leaves indexes alone, is told with the remedy', () => {
  const told = [expect.stringMatching(/ks\.elsewhere .*\(e_b\); run: ringshift indexes restore/)];
  expect(choose({ owed: [owedOf('elsewhere', 'e_b')] })).toEqual({ names: ['t_a', 't_b', 'u_a'], warnings: told });
  const { names, warnings } = choose({ owed: [owedOf('t', 't_gone')], setting: 'skip' });
  expect(names).toEqual([]);
  expect(warnings).toContainEqual(expect.stringMatching(/ks\.t .*t_gone.*indexes restore/));
});

test('indexes stay by the setting, while the target serves reads, and when they are not understood', () => {
  expect(choose({ setting: 'skip' })).toEqual({ names: [], warnings: [expect.stringContaining('indexes: skip')] });
  expect(choose({ targetServesReads: true })).toEqual({ names: [], warnings: [expect.stringContaining('reads')] });
  const odd = index('t', 'local', '{"pk":["a"],"ck":["b"]}');
  const { names, warnings } = choose({}, [...all, odd]);
  expect(names).not.toContain('local');
  expect(warnings).toEqual([expect.stringContaining('local on t (their definition')]);
});

test.each([
  ['an unknown key', '- { keyspace: ks, table: t, name: a, why: b }', 'unknown key'],
  ['neither a name nor all', '- { keyspace: ks, table: t }', 'either name'],
  ['both', '- { keyspace: ks, table: t, name: a, all: true }', 'either name'],
  ['no table', '- { keyspace: ks, name: a }', 'table'],
  ['no list', 'indexes: rebuild', 'array'],
])('%s in the list is refused', (_, yaml, message) => {
  expect(() => listOf(yaml)).toThrow(message);
});
