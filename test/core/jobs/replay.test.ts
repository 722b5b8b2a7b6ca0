import fc from 'fast-check';
import { expect, test } from 'vitest';
import { encodeInt, encodeText } from '#core/cql/value-codec.ts';
import {
  AuthenticationFailedError,
  ClusterUnreachableError,
  LedgerUnavailableError,
  MessageInvalidError,
  PrerequisiteError,
  ServerError,
} from '#core/errors.ts';
import { createFilter } from '#core/filter/filter.ts';
import { NO_FILTER_RULES } from '#core/filter/filter-rules.ts';
import { type ReplayOptions, type ReplayPorts, replayMessages } from '#core/jobs/replay.ts';
import type { BreakerPort } from '#core/jobs/replay-breaker.ts';
import type { MessageOutcome } from '#core/jobs/replay-bundle.ts';
import { createLedger } from '#core/ledger/ledger.ts';
import { Consistency } from '#core/model/cql-request.ts';
import type { FailedWrite } from '#core/model/failed-write.ts';
import { type CopyMessage, decodeMessage, encodeMessage } from '#core/model/message.ts';
import type { ColumnDefinition, TableSchema } from '#core/model/table-schema.ts';
import type { CqlSession } from '#core/ports.ts';
import { MemoryCluster } from '../../support/memory-cluster.ts';
import { createMemoryLedgerStore } from '../../support/memory-ledger-store.ts';
import { CLOSED_BREAKER, delivered, messageOf, writesOf } from '../../support/messages.ts';

const NOW = 1_800_000_000;
const schema: TableSchema = {
  keyspace: 'ks',
  table: 't',
  partitionKey: [{ name: 'k', type: { kind: 'native', name: 'text' } }],
  clustering: [],
  staticColumns: [],
  regularColumns: [
    { name: 'v', type: { kind: 'native', name: 'text' } },
    { name: 'w', type: { kind: 'native', name: 'text' } },
  ],
  droppedColumns: [],
  defaultTimeToLiveSeconds: 0,
  gcGraceSeconds: 864_000,
  isCounter: false,
};

const counterColumn: ColumnDefinition = { name: 'v', type: { kind: 'native', name: 'counter' } };

const options: ReplayOptions = {
  copy: {
    filter: createFilter(NO_FILTER_RULES),
    settleMs: 1000,
    originConsistency: Consistency.LOCAL_QUORUM,
    targetConsistency: Consistency.LOCAL_QUORUM,
    originWriteConsistency: Consistency.LOCAL_QUORUM,
    targetWriteConsistency: Consistency.LOCAL_QUORUM,
  },
};

const COPY: CopyMessage = {
  kind: 'copy',
  id: 'c1',
  keyspace: 'ks',
  table: 't',
  tokens: [],
  lacking: 'target',
  code: 'crash-window',
  attempts: 1,
  enqueuedAt: new Date(NOW * 1000).toISOString(),
  instance: 'p1',
};

function portsFor(target: MemoryCluster): ReplayPorts {
  return {
    openSession: async () => target,
    breaker: CLOSED_BREAKER,
    ledger: createLedger(createMemoryLedgerStore()),
    clock: { nowMillis: () => NOW * 1000 },
    logger: { debug() {}, info() {}, warn() {}, error() {} },
    sleep: async () => undefined,
  };
}

function failedWrite(change: Partial<FailedWrite> = {}): FailedWrite {
  return {
    id: 'w1',
    keyspace: 'ks',
    tables: [{ keyspace: 'ks', table: 't' }],
    consistency: 6,
    timestampMicros: BigInt(NOW - 60) * 1_000_000n,
    writtenAtSeconds: NOW - 60,
    expiresAtSeconds: null,
    epoch: 2,
    destination: 'target',
    kind: 'query',
    statements: [{ text: 'INSERT INTO t (k, v) VALUES (?, ?)', values: [encodeText('a'), encodeText('x')] }],
    idempotent: true,
    attempts: 1,
    ...change,
  };
}

const message = (write: FailedWrite, id = write.id) => delivered(messageOf(write), id);

/** What a message came to, in a word. */
function kindOf({ remove, resend, bury }: MessageOutcome): string {
  if (!remove) return 'stays';
  if (bury.length > 0) return 'dead';
  return resend.length > 0 ? 'again' : 'applied';
}

/** Writes to few rows and columns with few timestamps, so that they meet and tie. */
const writes = fc.array(
  fc.record({
    key: fc.constantFrom('a', 'b'),
    column: fc.constantFrom('v', 'w'),
    value: fc.constantFrom('x', 'y', 'zz', null),
    at: fc.integer({ min: 1, max: 4 }),
    inBatch: fc.boolean(),
  }),
  { maxLength: 12 },
);

test('a backlog applied twice, in any order, after newer writes, ends in the same cells', async () => {
  await fc.assert(
    fc.asyncProperty(writes, fc.infiniteStream(fc.nat()), async (backlog, random) => {
      const messages = backlog.map(({ key, column, value, at, inBatch }, i) =>
        message(
          failedWrite({
            id: `w${i}`,
            timestampMicros: BigInt(at),
            ...(inBatch ? { kind: 'batch', batchKind: 'logged' } : {}),
            statements: [
              value === null
                ? { text: `DELETE ${column} FROM t WHERE k = ?`, values: [encodeText(key)] }
                : {
                    text: `INSERT INTO t (k, ${column}) VALUES (:key, :value)`,
                    values: new Map([
                      ['value', encodeText(value)],
                      ['key', encodeText(key)],
                    ]),
                  },
            ],
          }),
        ),
      );
      const [once, twice] = [new MemoryCluster(schema), new MemoryCluster(schema)];
      for (const cluster of [once, twice]) {
        cluster.apply('INSERT INTO ks.t (k, v) VALUES (?, ?)', [encodeText('a'), encodeText('newer')], {
          timestampMicros: 3n,
        });
      }
      const results = await replayMessages(messages, portsFor(once), options);
      expect(results.every((result) => kindOf(result) === 'applied')).toBe(true);
      const shuffled = [...messages, ...messages]
        .map((each) => ({ each, order: random.next().value as number }))
        .sort((x, y) => x.order - y.order)
        .map(({ each }) => each);
      await replayMessages(shuffled, portsFor(twice), { ...options, concurrency: 3 });
      expect(twice.contents()).toEqual(once.contents());
    }),
  );
});

test('a TTL ends at its original instant, by the server on v5 and by what is left of it before', async () => {
  const withTtl = failedWrite({
    statements: [
      {
        text: 'INSERT INTO t (k, v) VALUES (?, ?) USING TTL ?',
        values: [encodeText('a'), encodeText('x'), encodeInt(100)],
      },
    ],
  });
  const contents = [];
  for (const version of [4, 5]) {
    const target = new MemoryCluster(schema, version);
    await replayMessages([message(withTtl)], portsFor(target), options);
    contents.push(target.contents());
    const [row] = (await target.query(target.table.partitionText, [encodeText('a')])).rows;
    expect(row?.[5]).toEqual(encodeInt(40));
  }
  expect(contents[0]).toEqual(contents[1]);
});

test('below v5 what a cluster took long for, and may live longer there, is compared; what has no TTL is applied', async () => {
  const tables = [{ keyspace: 'ks', table: 't', tokens: [5n] }];
  const text = 'INSERT INTO t (k, v) VALUES (?, ?)';
  const values = [encodeText('a'), encodeText('x')];
  const withTtl = failedWrite({ tables, statements: [{ text: `${text} USING TTL 100`, values }] });
  const plain = failedWrite({ tables, statements: [{ text, values }] });
  const replayed = async (write: FailedWrite, version: number, tookMs: number) => {
    const target = new MemoryCluster(schema, version);
    let nowMillis = NOW * 1000;
    target.onRequest = (sent) => {
      if (sent.startsWith('INSERT')) nowMillis += tookMs;
    };
    const [result] = await replayMessages(
      [message(write)],
      { ...portsFor(target), clock: { nowMillis: () => nowMillis } },
      options,
    );
    expect(target.written).toHaveLength(1);
    return result!;
  };
  const [again] = (await replayed(withTtl, 4, 2_000)).resend;
  expect(decodeMessage(again!.body)).toMatchObject({ kind: 'copy', tokens: [5n], lacking: 'target', code: 'late-ttl' });
  expect(kindOf(await replayed(withTtl, 4, 1_000))).toBe('applied');
  expect(kindOf(await replayed(withTtl, 5, 2_000))).toBe('applied');
  expect(kindOf(await replayed(plain, 4, 2_000))).toBe('applied');
});

test("a table's default TTL counts from the write: named where the server counts from its own clock", async () => {
  const withDefault = { ...schema, defaultTimeToLiveSeconds: 100 };
  const texts = ['INSERT INTO t (k, v) VALUES (?, ?)', 'UPDATE t SET v = ? WHERE k = ?'];
  for (const [index, text] of texts.entries()) {
    const values = index === 0 ? [encodeText('a'), encodeText('x')] : [encodeText('x'), encodeText('a')];
    const target = new MemoryCluster(withDefault, 4);
    const write = failedWrite({ statements: [{ text, values }], expiresAtSeconds: NOW + 40 });
    await replayMessages([message(write), message({ ...write, expiresAtSeconds: null })], portsFor(target), options);
    expect(target.written).toEqual([
      ['INSERT INTO ks.t (k, v) VALUES (?, ?) USING TTL 40', 'UPDATE ks.t USING TTL 40 SET v = ? WHERE k = ?'][index],
      ['INSERT INTO ks.t (k, v) VALUES (?, ?) USING TTL 40', 'UPDATE ks.t USING TTL 40 SET v = ? WHERE k = ?'][index],
    ]);
  }
  // It has ended, and still has to cover what it replaced.
  const late = new MemoryCluster(withDefault, 4);
  const ended = failedWrite({ expiresAtSeconds: NOW - 5, writtenAtSeconds: NOW - 105 });
  await replayMessages([message(ended)], portsFor(late), options);
  expect(late.written).toEqual(['INSERT INTO ks.t (k, v) VALUES (?, ?) USING TTL 1']);
});

test('what could count twice or was refused for the last time is dead, and its table suspect', async () => {
  const refusing = new MemoryCluster(schema);
  refusing.onRequest = (text) => {
    if (text.startsWith('INSERT')) throw new ServerError('unknown column', 0x2200, false);
  };
  const counters = new MemoryCluster({ ...schema, isCounter: true, regularColumns: [counterColumn] });
  for (const [write, target, code] of [
    [failedWrite({ idempotent: false }), new MemoryCluster(schema), 'counter'],
    [failedWrite({ kind: 'batch', batchKind: 'counter' }), new MemoryCluster(schema), 'counter'],
    [failedWrite({ statements: [{ text: 'UPDATE t SET v = v + 1 WHERE k = 1', values: [] }] }), counters, 'counter'],
    [failedWrite({ attempts: 3 }), refusing, 'dead-letter'],
  ] as const) {
    const ports = portsFor(target);
    const [outcome] = await replayMessages([message(write)], ports, options);
    expect(kindOf(outcome!)).toBe('dead');
    expect(outcome!.bury[0]!.body).toBe(messageOf(write));
    expect(target.written).toEqual([]);
    expect(await ports.ledger.readTable('ks', 't')).toMatchObject({ state: 'suspect' });
    expect(await ports.ledger.listSuspects()).toMatchObject([{ keyspace: 'ks', table: 't', code, lacking: 'target' }]);
  }
});

test('one that is older than the tombstones of its destination is not applied: its partitions are compared', async () => {
  const target = new MemoryCluster(schema);
  const tables = [{ keyspace: 'ks', table: 't', tokens: [5n, -9n] }];
  const margin = 86_400;
  const limit = NOW - (schema.gcGraceSeconds - margin);
  const results = await replayMessages(
    [
      message(failedWrite({ id: 'young', writtenAtSeconds: limit }), 'm1'),
      message(failedWrite({ id: 'old', writtenAtSeconds: limit - 1, tables }), 'm2'),
      message(failedWrite({ id: 'nowhere', writtenAtSeconds: limit - 1 }), 'm3'),
    ],
    portsFor(target),
    { ...options, tombstoneMarginSeconds: margin },
  );
  expect(results.map(kindOf)).toEqual(['applied', 'again', 'dead']);
  expect(target.written).toHaveLength(1);
  expect(decodeMessage(results[1]!.resend[0]!.body)).toMatchObject({
    kind: 'copy',
    keyspace: 'ks',
    table: 't',
    tokens: [5n, -9n],
    lacking: 'target',
    code: 'too-old',
    attempts: 1,
  });
});

test('each write of a bundle has its own outcome: the rest of the message is sent again, smaller, before it goes', async () => {
  const target = new MemoryCluster(schema);
  const of = (k: string, change: Partial<FailedWrite> = {}) =>
    failedWrite({
      id: k,
      statements: [{ text: 'INSERT INTO t (k, v) VALUES (?, ?)', values: [encodeText(k), encodeText('x')] }],
      ...change,
    });
  const session: CqlSession = {
    protocolVersion: 5,
    query: (text, values, given) => target.query(text, values, given),
    prepare: (text) => target.prepare(text),
    batch: (kind, entries, given) => target.batch(kind, entries, given),
    close: async () => undefined,
    execute: async (statement, values, given) => {
      const key = Buffer.from(values[0]!).toString();
      if (key === 'away') throw new ServerError('timed out', 0x1100, true);
      if (key.startsWith('bad')) throw new ServerError('no such column', 0x2200, false);
      return target.execute(statement, values, given);
    },
  };
  const writes = [
    ...[of('a'), of('away'), of('bad 1'), of('b'), of('bad 2', { attempts: 2 }), of('bad 3', { attempts: 3 })],
    of('later', { notBefore: new Date((NOW + 100) * 1000).toISOString() }),
    of('old', { writtenAtSeconds: 0, tables: [{ keyspace: 'ks', table: 't', tokens: [7n] }] }),
  ];
  const ports = { ...portsFor(target), openSession: async () => session };
  const [outcome] = await replayMessages([delivered(messageOf(...writes))], ports, options);
  expect(outcome).toMatchObject({ remove: true, targetAnswered: true });
  expect(outcome!.counts).toEqual({ applied: 2, away: 2, refused: 2, dead: 1, copied: 0 });
  const again = outcome!.resend.map(({ body, delaySeconds }) => ({ message: decodeMessage(body), delaySeconds }));
  const shown = again.map(({ message: one, delaySeconds }) =>
    one.kind === 'writes'
      ? `${one.writes.map(({ id, attempts }) => `${id}#${attempts}`)} in ${delaySeconds}`
      : `copy of ${one.tokens} in ${delaySeconds}`,
  );
  expect(shown.sort()).toEqual(['away#1 in 5', 'bad 1#2 in 60', 'bad 2#3 in 120', 'copy of 7 in 0', 'later#1 in 100']);
  expect(outcome!.bury.map(({ body }) => writesOf(body).map(({ id }) => id))).toEqual([['bad 3']]);
  expect(target.written).toHaveLength(2);
});

test('an attempt that is due later than a queue can wait says so itself, and is not made before', async () => {
  const target = new MemoryCluster(schema);
  target.onRequest = (text) => {
    if (text.startsWith('INSERT')) throw new ServerError('no', 0x2200, false);
  };
  const rules = { ...options, maxAttempts: 9, retryIntervalSeconds: 600 };
  const [first] = await replayMessages([message(failedWrite({ attempts: 2 }))], portsFor(target), rules);
  expect(first!.resend[0]!.delaySeconds).toBe(900);
  const [again] = writesOf(first!.resend[0]!.body);
  expect(again).toMatchObject({ attempts: 3, notBefore: new Date((NOW + 1200) * 1000).toISOString() });
  target.onRequest = () => undefined;
  const at = (seconds: number) => ({ ...portsFor(target), clock: { nowMillis: () => (NOW + seconds) * 1000 } });
  const [early] = await replayMessages([delivered(first!.resend[0]!.body)], at(900), rules);
  expect(early!.resend.map(({ delaySeconds }) => delaySeconds)).toEqual([300]);
  expect(writesOf(early!.resend[0]!.body)).toEqual([again]);
  expect(target.written).toEqual([]);
  const [due] = await replayMessages([delivered(first!.resend[0]!.body)], at(1200), rules);
  expect(kindOf(due!)).toBe('applied');
});

test('a cluster that is away means a later try for its messages only, and a broken message never stops the others', async () => {
  const target = new MemoryCluster(schema);
  const ports: ReplayPorts = {
    ...portsFor(target),
    openSession: async (cluster) => {
      if (cluster === 'origin') throw new ClusterUnreachableError('no node of the origin answers');
      return target;
    },
  };
  const results = await replayMessages(
    [
      message(failedWrite({ destination: 'origin' }), 'm1'),
      delivered('{}', 'm2'),
      {
        id: 'm3',
        text: 'the pointer',
        body: async () => {
          throw new MessageInvalidError('the body is gone');
        },
      },
      message(failedWrite(), 'm4'),
    ],
    ports,
    options,
  );
  expect(results.map((result) => `${result.id} ${kindOf(result)}`)).toEqual([
    'm1 stays',
    'm2 dead',
    'm3 dead',
    'm4 applied',
  ]);
  expect(results[2]!.bury).toEqual([{ body: 'the pointer', reason: 'the body is gone' }]);
  expect(await ports.ledger.listSuspects()).toEqual([]);
});

test('the breaker hears once of each message, and while it is open no cluster is spoken to', async () => {
  const target = new MemoryCluster(schema);
  const heard: string[] = [];
  let isOpen = false;
  const breaker: BreakerPort = {
    isOpen: async () => isOpen,
    noteAway: async (cluster, error) => void heard.push(`${cluster} away: ${(error as Error).message}`),
    noteAnswered: async (cluster) => void heard.push(`${cluster} answered`),
  };
  const bundle = delivered(messageOf(...Array.from({ length: 40 }, (_, index) => failedWrite({ id: `w${index}` }))));
  const ports = { ...portsFor(target), breaker };
  await replayMessages([bundle], ports, options);
  let asked = 0;
  target.onRequest = () => {
    asked++;
    throw new ClusterUnreachableError('gone');
  };
  const [away] = await replayMessages([bundle], ports, { ...options, concurrency: 1 });
  // After five in a row the others are not tried.
  expect(kindOf(away!)).toBe('stays');
  expect(asked).toBeLessThan(40);
  expect(heard).toEqual(['target answered', 'target away: gone']);
  asked = 0;
  isOpen = true;
  const copy = delivered(encodeMessage({ ...COPY, tokens: [1n] }));
  expect((await replayMessages([bundle, copy], ports, options)).map(kindOf)).toEqual(['stays', 'stays']);
  expect([asked, heard.length]).toEqual([0, 2]);
});

test('credentials, rights and settings that are wrong now bury nothing: the queue waits until they are mended', async () => {
  const noRights = new MemoryCluster(schema);
  noRights.onRequest = () => {
    throw new ServerError('no rights', 0x2100, false);
  };
  for (const openSession of [
    () => Promise.reject(new AuthenticationFailedError('the password was rotated')),
    () => Promise.reject(new PrerequisiteError('the CA file is missing')),
    async () => noRights,
  ]) {
    const ports = { ...portsFor(noRights), openSession };
    const results = await replayMessages([message(failedWrite({ attempts: 100 }))], ports, options);
    expect(results.map(kindOf)).toEqual(['stays']);
    expect(await ports.ledger.listSuspects()).toEqual([]);
  }
});

test('only refusals of the write itself count as attempts, and the last of them makes it dead', async () => {
  const target = new MemoryCluster(schema);
  const answer = async (code: number, retryable: boolean, attempts: number) => {
    target.onRequest = () => {
      throw new ServerError("Invalid STRING constant (secret) at 'it''s secret' in table t", code, retryable);
    };
    const rules = { ...options, maxAttempts: 2 };
    return (await replayMessages([message(failedWrite({ attempts }))], portsFor(target), rules))[0]!;
  };
  expect(kindOf(await answer(0x1001, true, 9))).toBe('stays');
  expect(writesOf((await answer(0x2200, false, 1)).resend[0]!.body)).toMatchObject([{ attempts: 2 }]);
  const [dead] = (await answer(0x2200, false, 2)).bury;
  expect(dead!.reason).toBe("Invalid STRING constant (…) at '…' in table t (attempt 2)");
});

test('a ledger that is away keeps a dead write in the queue: it is buried when its table is marked', async () => {
  const target = new MemoryCluster(schema);
  const ports = portsFor(target);
  const store = createMemoryLedgerStore();
  const away = createLedger({ ...store, put: () => Promise.reject(new LedgerUnavailableError('away')) });
  const dead = message(failedWrite({ idempotent: false }));
  expect(kindOf((await replayMessages([dead], { ...ports, ledger: away }, options))[0]!)).toBe('stays');
  expect(kindOf((await replayMessages([dead], ports, options))[0]!)).toBe('dead');
});

test('writes are begun at the rate that is allowed, and none once the time is over', async () => {
  let now = NOW * 1000;
  const target = new MemoryCluster(schema);
  const ports = {
    ...portsFor(target),
    clock: { nowMillis: () => now },
    sleep: async (ms: number) => {
      now += ms;
    },
  };
  const writes = Array.from({ length: 100 }, (_, index) => failedWrite({ id: `w${index}` }));
  const slow = { ...options, concurrency: 1, writesPerSecond: 10 };
  await replayMessages([delivered(messageOf(...writes))], ports, slow);
  // A hundred at ten a second, less what may be done ahead and behind.
  expect((now - NOW * 1000) / 1000).toBeGreaterThanOrEqual(8);
  expect((now - NOW * 1000) / 1000).toBeLessThanOrEqual(10);
  const before = target.written.length;
  const timed = { ...slow, deadlineMillis: now + 2000 };
  const [outcome] = await replayMessages([delivered(messageOf(...writes))], ports, timed);
  const rest = writesOf(outcome!.resend[0]!.body);
  expect(outcome!.remove).toBe(true);
  expect(rest.length + target.written.length - before).toBe(100);
  expect(rest.length).toBeGreaterThan(50);
});
