import { expect, test } from 'vitest';
import { SSTableUnsupportedError } from '#core/errors.ts';
import type { CqlType } from '#core/model/cql-type.ts';
import type { ColumnDefinition } from '#core/model/table-schema.ts';
import { chooseReading, readingsOf, readWithSchema } from '#core/sstable/lost-frozen.ts';
import type { SerializationHeader } from '#core/sstable/serialization-header.ts';
import { openPartitionCursor, openSSTable, openWithoutSchema } from '#core/sstable/sstable.ts';
import { versionOf } from '#core/sstable/sstable-version.ts';
import { verifySSTable } from '#core/sstable/verify.ts';
import { listFixtures3 } from './fixtures.ts';
import { readAll } from './read-all.ts';

const INT: CqlType = { kind: 'native', name: 'int' };
const user = (frozen: boolean): CqlType => ({ kind: 'udt', keyspace: 'ks', name: 'u', fields: [], frozen });
const set = (frozen: boolean): CqlType => ({ kind: 'set', element: INT, frozen });

/** `a int, u udt` and so on, in the order of the file; `u*`: without FrozenType. */
function headerOf(regular: string, statics = ''): SerializationHeader {
  const columns = (text: string) =>
    text.split(' ').flatMap((word): ColumnDefinition[] => {
      const [, name, kind, star] = /^(\w+):(int|udt|set)(\*?)$/.exec(word) ?? [];
      if (name === undefined) return [];
      const type = { int: () => INT, udt: user, set }[kind as 'int' | 'udt' | 'set'](star === '');
      return [{ name, type }];
    });
  return {
    baseTimestampMicros: 0n,
    baseLocalDeletionTimeSeconds: 0,
    baseTtlSeconds: 0,
    keyTypes: [INT],
    clusteringTypes: [],
    clusteringReversed: [],
    staticColumns: columns(statics),
    regularColumns: columns(regular),
  };
}

const frozenIn = ({ staticColumns, regularColumns }: SerializationHeader) =>
  [...staticColumns, ...regularColumns].flatMap(({ name, type }) => (type.kind === 'udt' && type.frozen ? [name] : []));
const readings = (version: string, ...header: Parameters<typeof headerOf>) =>
  readingsOf(headerOf(...header), versionOf(version, 'big', 'x')).map(frozenIn);

test.for([
  // Before 3.6 there is no other user type.
  ['ma', 'u:udt* s:set*', '', [['u']]],
  ['mb', 'a:int u:udt*', 'v:udt*', [['v', 'u']]],
  // A column of one cell, or one before it in the alphabet, follows.
  ['mc', 'u:udt* z:int', '', [['u']]],
  ['mc', 'u:udt* a:set*', '', [['u']]],
  ['mc', 'u:udt* z:int', 'v:udt*', [['v', 'u']]],
  // All of one cell stand before it, and it is in its place among those of several.
  ['mc', 'z:int u:udt*', '', [[]]],
  ['mc', 'a:int s:set* u:udt*', '', [[]]],
  // Another one is called frozen.
  ['mc', 'f:udt u:udt*', '', [['f']]],
  ['md', 'a:int u:udt*', '', [[]]],
  ['me', 'u:udt* z:int', '', [['u']]],
  ['mc', 'a:int u:udt*', '', [['u'], []]],
  ['mc', 'a:int u:udt* z:set*', 'v:udt*', [['v', 'u'], []]],
  ['nb', 'u:udt* z:int', '', [[]]],
] as const)('the order of the columns of %s (%s; static: %s) tells which are frozen', ([version, regular, statics, expected]) => {
  expect(readings(version, regular, statics)).toEqual(expected);
});

test('the schema decides, also on columns that were dropped', () => {
  const header = headerOf('a:int gone:udt* u:udt*', 's:udt*');
  const mc = versionOf('mc', 'big', 'x');
  const schema = (frozen: boolean) => ({
    static: [{ name: 's', type: user(frozen) }],
    regular: [{ name: 'u', type: user(frozen) }],
  });
  expect(frozenIn(readWithSchema(header, mc, schema(true)))).toEqual(['s', 'gone', 'u']);
  expect(frozenIn(readWithSchema(header, mc, schema(false)))).toEqual([]);
  expect(frozenIn(readWithSchema(header, versionOf('nb', 'big', 'x'), schema(true)))).toEqual([]);
});

const UDTS = listFixtures3().filter(({ table }) => table === 'udts' || table === 'udt_cells');

test.for(UDTS)('$title is read without a schema, and verified', async ({ files, release, table }) => {
  const { header } = await openWithoutSchema(files);
  const expected = table === 'udts' ? ['sf', 'fp'] : ['fp'];
  expect(frozenIn(header)).toEqual(expected);
  expect((await verifySSTable(files)).rows).toBeGreaterThan(0);
  // The header itself says it from 3.11 on.
  const { header: raw } = await openSSTable(files);
  if (!release.startsWith('3.x/3.0.')) expect(frozenIn(raw)).toEqual(expected);
});

test.for(UDTS)('the rows of $title tell frozen user types from others', async ({ files }) => {
  const sstable = await openWithoutSchema(files);
  const { header } = sstable;
  const flip = (columns: readonly ColumnDefinition[]) =>
    columns.map((each) => (each.type.kind === 'udt' ? { ...each, type: { ...each.type, frozen: !each.type.frozen } } : each));
  const wrong = { ...header, staticColumns: flip(header.staticColumns), regularColumns: flip(header.regularColumns) };
  const open = (reading: SerializationHeader) => openPartitionCursor({ ...sstable, header: reading });
  expect(await chooseReading([header, wrong], open, 'x')).toBe(header);
  expect(await chooseReading([wrong, header], open, 'x')).toBe(header);
});

test('rows that allow two readings are refused by name, with what to do', async () => {
  const { files } = UDTS.find(({ table }) => table === 'udt_cells')!;
  const sstable = await openSSTable(files);
  const open = () => openPartitionCursor(sstable);
  const choice = chooseReading([sstable.header, sstable.header], open, 'mc-1-big-Data.db');
  await expect(choice).rejects.toThrow(SSTableUnsupportedError);
  await expect(choice).rejects.toThrow(/mc-1-big-Data\.db: .*CASSANDRA-15035.*load it, which takes that from the schema/);
});

test.for(UDTS.filter(({ release }) => release.startsWith('3.x/3.0.')))('$title is the same with the schema', async ({ files }) => {
  const known = await openWithoutSchema(files);
  const sstable = await openSSTable(files);
  const columns = { static: known.header.staticColumns, regular: known.header.regularColumns };
  expect(await readAll(openPartitionCursor(sstable, { columns }))).toEqual(await readAll(openPartitionCursor(known)));
  // Columns that the schema no longer has are passed over, whatever their form.
  const rest = { static: [], regular: columns.regular.filter(({ type }) => type.kind !== 'udt') };
  const events = await readAll(openPartitionCursor(sstable, { columns: rest }));
  expect(events.filter(({ kind }) => kind === 'partition').length).toBeGreaterThan(5);
});
