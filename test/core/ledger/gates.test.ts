import { expect, test } from 'vitest';
import { type Phase, phases } from '#core/config/schema.ts';
import type { GateFacts } from '#core/ledger/gate-facts.ts';
import { askGates, type GateName, gateNames, gatesOf, refusals, stepKindOf } from '#core/ledger/gates.ts';
import type { ProxyRecord, SuspectRecord, TableRecord } from '#core/ledger/records.ts';

const NOW = new Date('2026-01-02T00:00:00.000Z');
const BEFORE = '2026-01-01T00:00:00.000Z';
const LATER = '2026-01-02T00:00:10.000Z';

const proxy: ProxyRecord = {
  ...{ version: 1, instance: 'p1', startedAt: BEFORE, leaseUntil: LATER, drainedForEpoch: 5, actingEpoch: 5 },
  counters: {},
};
const table: TableRecord = {
  ...{ version: 1, keyspace: 'ks', table: 't', state: 'validated', since: BEFORE, runId: null, reasons: [] },
  ...{ loadedAt: BEFORE, validatedAt: BEFORE },
};
const mark: SuspectRecord = {
  ...{ version: 1, keyspace: 'ks', table: 't', range: null, reason: 'a copy was lost', by: 'p1', at: BEFORE },
};

/** Everything as it should be. */
function good(phase: Phase): GateFacts {
  const active = { epoch: 5, phase, since: BEFORE, by: 'me', why: '' };
  return {
    now: NOW,
    since: NOW,
    phase: {
      ...{ version: 1, active, proposal: null, lastEpoch: 5, dualWritesSince: BEFORE, dualWritesSettledAt: BEFORE },
      history: [],
    },
    proxies: [proxy],
    withoutProxies: false,
    tables: [table],
    marks: [],
    loads: [],
    owed: [],
    replay: { version: 1, paused: null, lag: null },
    queue: [{ waiting: 0, inFlight: 0, deadLetters: 0 }],
    clusters: {
      tables: [{ keyspace: 'ks', table: 't' }],
      differences: [],
      clocks: [{ cluster: 'origin', node: '10.0.0.1', skewMs: 20 }],
      away: [],
      isEveryKeyspace: false,
    },
    lastShadowFailureAt: {},
    hasFilterRules: false,
    abandonFiltered: false,
    isExcluded: () => false,
    limits: { quietMinutes: 10, maxQueueAgeSecs: 5, maxSkewMs: 500 },
  };
}

/** The steps of a migration, there and back, by the kind that the gates know. */
const STEPS = {
  'dual-async': ['origin-only', 'dual-async'],
  'dual-sync': ['dual-async', 'dual-sync'],
  'target-primary': ['dual-sync', 'target-primary'],
  'target-only': ['target-primary', 'target-only'],
  rollback: ['target-primary', 'dual-sync'],
  back: ['dual-sync', 'dual-async'],
} as const satisfies Record<string, readonly [Phase, Phase]>;
type Step = keyof typeof STEPS;

const ALL: readonly Step[] = ['dual-async', 'dual-sync', 'target-primary', 'target-only', 'rollback', 'back'];
const FORWARD: readonly Step[] = ['dual-async', 'dual-sync', 'target-primary', 'rollback'];
const DUAL: readonly Step[] = ['dual-sync', 'target-primary', 'target-only', 'rollback'];
const DATA: readonly Step[] = ['dual-sync', 'target-primary', 'target-only'];
const PRIMARY: readonly Step[] = ['target-primary', 'target-only', 'rollback'];

const with_ =
  (change: Partial<GateFacts>) =>
  (facts: GateFacts): GateFacts => ({ ...facts, ...change });
const clusters =
  (change: object) =>
  (facts: GateFacts): GateFacts => ({
    ...facts,
    clusters: { ...facts.clusters!, ...change },
  });
const instance = (change: Partial<ProxyRecord>) => with_({ proxies: [proxy, { ...proxy, instance: 'p2', ...change }] });
const record = (change: Partial<TableRecord>) => with_({ tables: [{ ...table, ...change }] });
const marked = (change: Partial<SuspectRecord>) => with_({ marks: [{ ...mark, ...change }] });
const proposal = { epoch: 6, phase: 'dual-sync', since: LATER, by: 'other', why: '', expiresAt: LATER } as const;

interface Case {
  readonly code: string;
  readonly steps: readonly Step[];
  readonly isForcible: boolean;
  readonly worsen: (facts: GateFacts) => GateFacts;
  /** What is closed as well, since it is the same thing seen otherwise. */
  readonly also?: readonly string[];
}

const CASES: readonly Case[] = [
  {
    ...{ code: 'change-under-way', steps: ALL, isForcible: false },
    worsen: (facts) => ({ ...facts, phase: { ...facts.phase, proposal } }),
  },
  { code: 'no-instances', steps: ALL, isForcible: false, worsen: with_({ proxies: [] }) },
  { code: 'instance-stale:p2', steps: ALL, isForcible: false, worsen: instance({ leaseUntil: BEFORE }) },
  { code: 'instance-not-acked:p2', steps: ALL, isForcible: false, worsen: instance({ actingEpoch: 4 }) },
  { code: 'filter-in-force', steps: ['target-only'], isForcible: false, worsen: with_({ hasFilterRules: true }) },
  { code: 'hole:origin:ks.t', steps: ['rollback'], isForcible: false, worsen: marked({ lacking: 'origin' }) },
  {
    ...{ code: 'cluster-away:target', steps: FORWARD, isForcible: true },
    worsen: clusters({ away: [{ cluster: 'target', error: 'timeout' }] }),
  },
  {
    ...{ code: 'schemas-differ:ks', steps: FORWARD, isForcible: true },
    worsen: clusters({ differences: [{ keyspace: 'ks', table: 't', message: 'column a', lacking: null }] }),
  },
  {
    ...{ code: 'clock-skew:target/10.0.0.2', steps: FORWARD, isForcible: true },
    worsen: clusters({ clocks: [{ cluster: 'target', node: '10.0.0.2', skewMs: -501 }] }),
  },
  {
    ...{ code: 'clock-skew:target/10.0.0.2', steps: FORWARD, isForcible: true },
    worsen: clusters({ clocks: [{ cluster: 'target', node: '10.0.0.2', skewMs: null }] }),
  },
  { code: 'instance-blind:p2', steps: DUAL, isForcible: true, worsen: instance({ isBlind: true }) },
  {
    ...{ code: 'journal-not-empty:p2', steps: DUAL, isForcible: true },
    worsen: instance({ journal: { messages: 1, bytes: 1, oldestAt: null } }),
  },
  {
    ...{ code: 'journal-not-empty:p2', steps: DUAL, isForcible: true },
    worsen: instance({ leaseUntil: BEFORE, fencedAt: BEFORE, storage: 'volume' }),
  },
  { code: 'marks-waiting:p2', steps: DUAL, isForcible: true, worsen: instance({ marksWaiting: 3 }) },
  { code: 'queue-unknown', steps: DUAL, isForcible: true, worsen: with_({ queue: [{ error: 'no right' }] }) },
  {
    ...{ code: 'queue-not-empty', steps: PRIMARY, isForcible: true },
    worsen: with_({
      queue: [
        { waiting: 0, inFlight: 0, deadLetters: 0 },
        { waiting: 0, inFlight: 1, deadLetters: 0 },
        { waiting: 0, inFlight: 0, deadLetters: 0 },
      ],
    }),
  },
  {
    ...{ code: 'queue-old', steps: ['dual-sync'], isForcible: true },
    worsen: with_({
      queue: [{ waiting: 4, inFlight: 0, deadLetters: 0 }],
      replay: { version: 1, paused: null, lag: { seconds: 6, at: BEFORE } },
    }),
    also: ['queue-not-empty'],
  },
  {
    ...{ code: 'dead-letters', steps: DUAL, isForcible: true },
    worsen: with_({ queue: [{ waiting: 0, inFlight: 0, deadLetters: 1 }] }),
  },
  {
    ...{ code: 'breaker-open:target', steps: DUAL, isForcible: true },
    worsen: with_({
      replay: {
        ...{ version: 1, paused: null, lag: null },
        target: { state: 'open', since: BEFORE, failures: 1, lastError: 'away', probedAt: null },
      },
    }),
  },
  {
    ...{ code: 'breaker-open:paused', steps: DUAL, isForcible: true },
    worsen: with_({ replay: { version: 1, paused: { by: 'me', why: 'repair', at: BEFORE }, lag: null } }),
  },
  {
    ...{ code: 'load-running:r1', steps: DATA, isForcible: true },
    worsen: with_({ loads: [{ runId: 'r1', keyspace: 'ks' } as never] }),
  },
  {
    ...{ code: 'table-not-loaded:ks.t', steps: DATA, isForcible: true },
    worsen: with_({ tables: [] }),
    also: ['table-not-validated:ks.t'],
  },
  {
    ...{ code: 'remigrate:ks.t', steps: DATA, isForcible: true },
    worsen: record({ remigrate: { at: LATER, why: 'a TRUNCATE', by: 'p1' } }),
  },
  {
    ...{ code: 'indexes-owed:ks.t', steps: DATA, isForcible: true },
    worsen: with_({ owed: [{ keyspace: 'ks', table: 't', runId: 'r1', indexes: [] } as never] }),
  },
  {
    ...{ code: 'table-not-validated:ks.t', steps: PRIMARY, isForcible: true },
    worsen: record({ state: 'loaded', validatedAt: undefined }),
  },
  { code: 'suspect:ks.t', steps: PRIMARY, isForcible: true, worsen: marked({}) },
  {
    ...{ code: 'conditional-missing:ks.t', steps: PRIMARY, isForcible: true },
    worsen: marked({ code: 'conditional-missing' }),
  },
  { code: 'counters-drift:ks.t', steps: PRIMARY, isForcible: true, worsen: marked({ code: 'counter' }) },
  { code: 'definition-missing:ks', steps: PRIMARY, isForcible: true, worsen: marked({ table: '*' }) },
];

test.each(ALL)('with everything as it should be no gate of the step %s is closed', (step) => {
  const [from, to] = STEPS[step];
  expect(stepKindOf(from, to)).toBe(step);
  expect(gatesOf(from, to, good(from))).toEqual([]);
});

test.each(CASES.map((one) => [one.code, one] as const))('%s alone closes exactly its gates', (_, one) => {
  for (const step of ALL) {
    const [from, to] = STEPS[step];
    const unmet = gatesOf(from, to, one.worsen(good(from)));
    const others = unmet.filter(({ code }) => code !== one.code && !one.also?.includes(code));
    expect(others, step).toEqual([]);
    const found = unmet.find(({ code }) => code === one.code);
    expect(found !== undefined, `${one.code} at ${step}`).toBe(one.steps.includes(step));
    if (!found) continue;
    expect(found.isForcible).toBe(one.isForcible);
    expect(found.text.length).toBeGreaterThan(9);
    expect(found.remedy.length).toBeGreaterThan(5);
    expect(refusals(unmet, []).join('\n')).toContain(found.remedy);
  }
});

test('every gate has a case, and is shown for the steps that ask it', () => {
  const special: readonly GateName[] = ['step-skips-phase', 'no-way-back', 'shadow-failed-recently'];
  const covered = new Set([...special, ...CASES.map(({ code }) => code.split(':')[0])]);
  expect(gateNames.filter((name) => !covered.has(name))).toEqual([]);
  const shown = askGates('dual-sync', 'target-primary', good('dual-sync'));
  expect(shown.every(({ title, unmet }) => title.length > 5 && unmet.length === 0)).toBe(true);
  expect(shown.map(({ gate }) => gate)).toEqual(expect.arrayContaining(['queue-not-empty', 'suspect']));
  expect(shown.map(({ gate }) => gate)).not.toContain('hole');
});

test('a step over a phase, and one back from target-only, have to be forced', () => {
  const codes = (from: Phase, to: Phase) => gatesOf(from, to, good(from)).map(({ code }) => code);
  for (const [at, from] of phases.entries()) {
    for (const [next, to] of phases.entries()) {
      if (at === next) continue;
      expect(codes(from, to).includes('step-skips-phase'), `${from} → ${to}`).toBe(Math.abs(at - next) > 1);
      expect(codes(from, to).includes('no-way-back'), `${from} → ${to}`).toBe(from === 'target-only');
    }
  }
});

test('a failure counts against the cluster that is to answer, for the quiet time and since the asking began', () => {
  const at = (seconds: number) => new Date(NOW.getTime() + seconds * 1000).toISOString();
  const codes = (to: 'target-primary' | 'dual-sync', failures: object, limits = {}) => {
    const from = to === 'target-primary' ? 'dual-sync' : 'target-primary';
    const facts = good(from);
    const worse = { ...facts, lastShadowFailureAt: failures, limits: { ...facts.limits, ...limits } };
    return gatesOf(from, to, worse).map(({ code }) => code);
  };
  expect(codes('target-primary', { target: at(-599) })).toEqual(['shadow-failed-recently:target']);
  expect(codes('target-primary', { target: at(-601) })).toEqual([]);
  expect(codes('target-primary', { origin: at(-1) })).toEqual([]);
  expect(codes('dual-sync', { origin: at(-1) })).toEqual(['shadow-failed-recently:origin']);
  expect(codes('target-primary', { target: at(-1) }, { quietMinutes: 0 })).toEqual([]);
  expect(codes('target-primary', { target: at(0) }, { quietMinutes: 0 })).toEqual(['shadow-failed-recently:target']);
});

test('what only the next shadow lacks closes nothing', () => {
  const facts = marked({ lacking: 'origin' })(good('dual-sync'));
  expect(gatesOf('dual-sync', 'target-primary', facts)).toEqual([]);
  const differences = [
    { keyspace: 'ks', table: 'u', message: 'exists on the target only', lacking: 'origin' as const },
  ];
  const grown = clusters({ differences });
  expect(gatesOf('dual-sync', 'target-primary', grown(good('dual-sync')))).toEqual([]);
  const back = gatesOf('target-primary', 'dual-sync', grown(good('target-primary')));
  expect(back.map(({ code }) => code)).toEqual(['schemas-differ:ks']);
});

test('after target-only the origin lacks every table until it was found equal since', () => {
  const facts = good('target-primary');
  const epoch = (phase: Phase, since: string) => ({ epoch: 1, phase, since, by: 'me', why: '' });
  const history = [epoch('dual-sync', '2025-12-01T00:00:00.000Z'), epoch('target-only', '2025-12-02T00:00:00.000Z')];
  const codes = (validatedAt: string) =>
    gatesOf('target-primary', 'dual-sync', {
      ...record({ loadedAt: validatedAt, validatedAt })(facts),
      phase: { ...facts.phase, history },
    }).map(({ code }) => code);
  expect(codes('2025-12-30T00:00:00.000Z')).toEqual(['hole:origin:ks.t']);
  expect(codes('2026-01-01T00:00:01.000Z')).toEqual([]);
});

test('tables that the filter leaves on the origin are not asked for, nor is anything of a fenced ephemeral instance', () => {
  const facts = { ...good('dual-sync'), tables: [], isExcluded: () => true };
  expect(gatesOf('dual-sync', 'target-primary', facts)).toEqual([]);
  const gone = instance({ leaseUntil: BEFORE, fencedAt: BEFORE, storage: 'ephemeral', actingEpoch: 1 });
  expect(gatesOf('dual-sync', 'target-primary', gone(good('dual-sync')))).toEqual([]);
});

test('where the origin can not be asked the tables of the ledger count', () => {
  const away = clusters({ tables: [], away: [{ cluster: 'origin', error: 'gone' }] });
  const facts = away(record({ state: 'loaded', validatedAt: undefined })(good('dual-sync')));
  expect(gatesOf('dual-sync', 'target-primary', facts).map(({ code }) => code)).toEqual([
    'cluster-away:origin',
    'table-not-validated:ks.t',
  ]);
});

test('a table that was loaded again, or is suspect without a mark, was not found equal since', () => {
  const codes = (change: Partial<TableRecord>, marks: readonly SuspectRecord[] = []) =>
    gatesOf('dual-sync', 'target-primary', { ...record(change)(good('dual-sync')), marks }).map(({ code }) => code);
  const then = NOW.toISOString();
  expect(codes({ state: 'loaded', loadedAt: then })).toEqual(['table-not-validated:ks.t']);
  expect(codes({ loadedAt: then, validatedAt: LATER })).toEqual([]);
  const reasons = [{ at: then, reason: 'ranges of load r1 failed', by: 'load' }];
  expect(codes({ state: 'suspect', since: then, reasons })).toEqual(['suspect:ks.t']);
  expect(codes({ state: 'suspect', since: BEFORE, reasons, validatedAt: LATER })).toEqual([]);
  // What its marks say counts then: this one is of what only the next shadow lacks.
  expect(codes({ state: 'suspect', since: then, reasons }, [{ ...mark, lacking: 'origin' }])).toEqual([]);
});

test('marks of a table that is on neither cluster any more, or stays on the origin, close nothing', () => {
  const codes = (table: string, change: Partial<GateFacts> = {}) => {
    const facts = marked({ table, lacking: 'origin' })({ ...good('target-primary'), ...change });
    const again = { ...facts, tables: [...facts.tables, { ...facts.tables[0]!, table, remigrate: gone }] };
    return [...gatesOf('target-primary', 'dual-sync', facts), ...gatesOf('target-primary', 'target-only', again)].map(
      ({ code }) => code,
    );
  };
  const gone = { at: LATER, why: 'a TRUNCATE', by: 'p1' };
  expect(codes('t')).toEqual(['hole:origin:ks.t', 'remigrate:ks.t']);
  expect(codes('dropped')).toEqual([]);
  expect(codes('t', { isExcluded: () => true })).toEqual([]);
  // Nobody has looked at its keyspace, or it is on one of them still.
  expect(codes('dropped', { clusters: { ...good('dual-sync').clusters!, tables: [] } })).toContain(
    'hole:origin:ks.dropped',
  );
  // Unless everybody's keyspaces were looked at, on both: then it is nowhere, or never was.
  const seen = { ...good('dual-sync').clusters!, tables: [], isEveryKeyspace: true };
  expect(codes('mistyped', { clusters: seen })).toEqual([]);
  const away = [{ cluster: 'target' as const, error: 'gone' }];
  expect(codes('dropped', { clusters: { ...seen, away } })).toContain('hole:origin:ks.dropped');
  const differences = [{ keyspace: 'ks', table: 'dropped', message: 'exists on the target only', lacking: null }];
  expect(codes('dropped', { clusters: { ...good('dual-sync').clusters!, differences } })).toContain(
    'hole:origin:ks.dropped',
  );
});

test('what a fenced instance told of itself last closes no gate that nothing can open', () => {
  const told = { isBlind: true, marksWaiting: 2, journal: { messages: 1, bytes: 1, oldestAt: null } };
  const dead = { ...told, leaseUntil: BEFORE, fencedAt: BEFORE };
  const codes = (storage: 'volume' | 'ephemeral') =>
    gatesOf('dual-sync', 'target-primary', instance({ ...dead, storage })(good('dual-sync'))).map(({ code }) => code);
  expect(codes('ephemeral')).toEqual([]);
  expect(codes('volume')).toEqual(['journal-not-empty:p2']);
});
