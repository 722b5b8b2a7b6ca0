/** What the test beds judge by: a judge that finds nothing to blame would make them pass. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { suspectRecordSchema } from '#core/ledger/records.ts';
import { encodeMessage } from '#core/model/message.ts';
import { tokenOf } from '#core/token/token.ts';
import { MARKS_FILE } from '../../../proxy-container/src/journal/marked-places.ts';
import { ReservedMarks } from '../../../proxy-container/src/journal/reserved-marks.ts';
import { unnoted } from './differing-partitions.ts';
import { markedOf, unexplainedMarks } from './interleaving-marks.ts';
import { lostSight, tornMarks } from './look-at-all.ts';
import { owedByMarks, owedByMessage, owedOnDisk } from './owed-places.ts';
import { judgeCounter, judgeList, judgeRegister, Register, Tally } from './told.ts';

const noVerdict = () => ({ lost: [] as string[], duplicated: [] as string[] });

function tallyOf(acknowledged: readonly number[], unknown: readonly number[]): Tally {
  const tally = new Tally();
  for (const element of [...acknowledged, ...unknown]) tally.unknown.add(element);
  for (const element of acknowledged) tally.acknowledge(element);
  return tally;
}

test('a register is what was acknowledged last, or what has been tried since', () => {
  const register = new Register();
  register.acknowledge('old');
  register.unknown.add('tried');
  for (const [found, isLost] of [
    ['old', false],
    ['tried', false],
    ['other', true],
    [null, true],
  ] as const) {
    const verdict = noVerdict();
    judgeRegister(register, found, 'it', verdict);
    expect(verdict.lost.length > 0, String(found)).toBe(isLost);
  }
  register.acknowledge('new');
  const verdict = noVerdict();
  judgeRegister(register, 'tried', 'it', verdict);
  judgeRegister(register, 'old', 'it', verdict);
  expect(verdict.lost).toHaveLength(2);
});

test.each([
  { found: [1, 2], lost: 0, duplicated: 0 },
  { found: [1, 2, 3], lost: 0, duplicated: 0 },
  { found: [1], lost: 1, duplicated: 0 },
  { found: [1, 2, 4], lost: 1, duplicated: 0 },
  { found: [1, 2, 2], lost: 0, duplicated: 1 },
])('of a list that has $found of 1 and 2, perhaps 3, $lost is lost and $duplicated twice', (expected) => {
  const verdict = noVerdict();
  judgeList(tallyOf([1, 2], [3]), expected.found, 'it', verdict);
  expect(verdict).toMatchObject({ lost: { length: expected.lost }, duplicated: { length: expected.duplicated } });
});

test.each([
  { found: 1, lost: 1, duplicated: 0 },
  { found: 2, lost: 0, duplicated: 0 },
  { found: 3, lost: 0, duplicated: 0 },
  { found: 4, lost: 0, duplicated: 1 },
])('a counter of two, perhaps three, that says $found: lost $lost, duplicated $duplicated', (expected) => {
  const verdict = noVerdict();
  judgeCounter(tallyOf([1, 2], [3]), expected.found, 'it', verdict);
  expect(verdict).toMatchObject({ lost: { length: expected.lost }, duplicated: { length: expected.duplicated } });
});

const differing = { keyspace: 'k', table: 't', token: 7n, text: '' };

const markOf = (more: object) =>
  suspectRecordSchema.parse({
    ...{ keyspace: 'k', table: 't', reason: 'why', by: 'p1', at: '2026-01-02T03:04:05.678Z' },
    ...{ version: 1, range: null },
    ...more,
  });

test.each([
  { title: 'its token', more: { tokens: ['7'] }, isNoted: true },
  { title: 'the token beside it', more: { tokens: ['6', '8'] }, isNoted: false },
  { title: 'another table', more: { table: 'u', tokens: ['7'] }, isNoted: false },
  { title: 'another keyspace', more: { keyspace: 'l', tokens: ['7'] }, isNoted: false },
  { title: 'the whole table', more: {}, isNoted: true },
])('a partition that differs is noted by a mark of $title: $isNoted', ({ more, isNoted }) => {
  expect(unnoted([differing], owedByMarks([markOf(more)]))).toEqual(isNoted ? [] : [differing]);
});

test('a message notes the partitions that it names, and where its body lies elsewhere any', () => {
  const copy = (tokens: readonly bigint[]) =>
    encodeMessage({
      kind: 'copy',
      ...{ id: 'c', keyspace: 'k', table: 't', attempts: 1, instance: 'p1' },
      code: 'crash-window',
      ...{ lacking: null, enqueuedAt: '2026-01-02T03:04:05.678Z', tokens },
    });
  expect(unnoted([differing], owedByMessage(copy([7n])))).toEqual([]);
  expect(unnoted([differing], owedByMessage(copy([6n])))).toEqual([differing]);
  expect(unnoted([differing], owedByMessage('{"version":1,"overflow":{"bucket":"b","key":"k"}}'))).toEqual([]);
});

test('a proxy that holds every table for suspect is found by its disk, and what was marked so in the ledger', async () => {
  const journalDir = mkdtempSync(join(tmpdir(), 'ringshift-judged-'));
  try {
    const marks = ReservedMarks.open(join(journalDir, MARKS_FILE), { debug() {}, info() {}, warn() {}, error() {} });
    expect(lostSight([[], await owedOnDisk(journalDir)])).toEqual([]);
    marks.setEverything(true);
    expect(lostSight([[], await owedOnDisk(journalDir)])).toEqual([expect.stringContaining('proxy 1 ')]);
    marks.close();
  } finally {
    rmSync(journalDir, { recursive: true });
  }
  expect(tornMarks([markOf({ code: 'torn' }), markOf({ code: 'vanished' })])).toHaveLength(1);
});

const PK = 'plain/ooosll/insert,ttl,update';
const OTHER = 'plain/ooosll/insert,update,update';
const table = {
  keyspace: 'k',
  name: 't',
  shape: 'plain',
  order: 'ooosll',
  cases: [PK, OTHER].map((pk) => ({ pk, operations: pk.split('/')[2]!.split(',') })),
} as const;
const tokenOfCase = (pk: string) => String(tokenOf(Buffer.from(pk)));

test.each([
  { title: 'a late TTL where one was written', more: { code: 'late-ttl', tokens: [tokenOfCase(PK)] }, found: 0 },
  { title: 'a late TTL where none was', more: { code: 'late-ttl', tokens: [tokenOfCase(OTHER)] }, found: 1 },
  { title: 'one where no case is', more: { code: 'late-ttl', tokens: ['1'] }, found: 1 },
  { title: 'a whole table', more: { code: 'late-ttl' }, found: 1 },
  { title: 'an outcome nobody asked about', more: { code: 'unknown-outcome', tokens: [tokenOfCase(PK)] }, found: 1 },
  { title: 'a table that no case has', more: { table: '*', code: 'definition' }, found: 1 },
])('a mark of $title: $found without an explanation', ({ more, found }) => {
  expect(unexplainedMarks([table], [markOf(more)], new Set())).toHaveLength(found);
});

test('a case with an unknown outcome may be marked for it, no other one, and only where it is marked it may differ', () => {
  const unknown = new Set([PK]);
  const marks = [markOf({ code: 'unknown-outcome', tokens: [tokenOfCase(PK), tokenOfCase(OTHER)] })];
  expect(unexplainedMarks([table], marks, unknown)).toEqual([expect.stringContaining(OTHER)]);
  const torn = [markOf({ code: 'torn', tokens: [tokenOfCase(PK)] })];
  expect(unexplainedMarks([table], torn, unknown)).toEqual([expect.stringContaining('torn')]);
  expect([...markedOf(new Set([PK, 'not marked']), marks)]).toEqual([PK]);
});
