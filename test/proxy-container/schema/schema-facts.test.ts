import { expect, test } from 'vitest';
import { encodeInt, encodeText } from '#core/cql/value-codec.ts';
import { SchemaFacts } from '../../../proxy-container/src/schema/schema-facts.ts';
import type { ControlConnection } from '../../../proxy-container/src/upstream/control-connection.ts';

type Rows = Awaited<ReturnType<ControlConnection['columnTypes']>>;

/** Answers when the test says so. */
class Source {
  readonly waiting: ((rows: Rows) => void)[] = [];

  defaultTtl = async () => 0;

  columnTypes(): Promise<Rows> {
    return new Promise((resolve) => this.waiting.push(resolve));
  }
}

const rowsOf = (type: string): Rows => [
  [encodeText('id'), encodeText('int'), encodeText('partition_key'), encodeInt(0)],
  [encodeText('l'), encodeText(type), encodeText('regular'), encodeInt(-1)],
];

function begin(): { source: Source; facts: SchemaFacts } {
  const source = new Source();
  return { source, facts: new SchemaFacts(() => [source as unknown as ControlConnection]) };
}

test('however many writes ask for the types of a table, the cluster is asked once', async () => {
  const { source, facts } = begin();
  expect(facts.known('ks', 't')).toBeUndefined();
  const asked = Array.from({ length: 1000 }, () => facts.of('ks', 't'));
  expect(source.waiting).toHaveLength(1);
  source.waiting[0]!(rowsOf('list<int>'));
  for (const one of await Promise.all(asked)) expect(one?.lists).toEqual(new Set(['l']));
  expect(facts.known('ks', 't')?.lists).toEqual(new Set(['l']));
  expect(source.waiting).toHaveLength(1);
});

test('where nobody could say, the next one asks again', async () => {
  const { source, facts } = begin();
  const first = facts.of('ks', 't');
  source.waiting[0]!([]);
  expect(await first).toBeUndefined();
  void facts.of('ks', 't');
  expect(source.waiting).toHaveLength(2);
});

test('an answer of the time before a schema change is not kept after it', async () => {
  const { source, facts } = begin();
  const before = facts.of('ks', 't');
  facts.forget();
  const after = facts.of('ks', 't');
  source.waiting[1]!(rowsOf('list<int>'));
  source.waiting[0]!(rowsOf('int'));
  await Promise.all([before, after]);
  expect(facts.known('ks', 't')?.lists).toEqual(new Set(['l']));
});

test('after a schema change the types of before are there, by that name, until the new ones are known', async () => {
  const { source, facts } = begin();
  const first = facts.of('ks', 't');
  source.waiting[0]!(rowsOf('list<int>'));
  await first;
  facts.forget();
  facts.forget();
  expect(facts.known('ks', 't')).toBeUndefined();
  expect(facts.knownBefore('ks', 't')?.lists).toEqual(new Set(['l']));
  source.waiting[1]!(rowsOf('int'));
  await facts.of('ks', 't');
  expect([facts.known('ks', 't')?.lists.size, facts.knownBefore('ks', 't')]).toEqual([0, undefined]);
});
