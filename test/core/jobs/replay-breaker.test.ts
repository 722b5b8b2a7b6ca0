import fc from 'fast-check';
import { expect, test } from 'vitest';
import { claimedProbe, createBreaker, isFlowing, opened, probed } from '#core/jobs/replay-breaker.ts';
import { type MessageFlow, tendBreaker } from '#core/jobs/tend-breaker.ts';
import { changeReplayState, openBreakers, type ReplayState, readReplayState } from '#core/ledger/replay-state.ts';
import type { Clock, LedgerStore } from '#core/ports.ts';
import { createMemoryLedgerStore } from '../../support/memory-ledger-store.ts';

const silent = { debug() {}, info() {}, warn() {}, error() {} };
const START = 1_790_000_000_000;
const SECOND = 1000;

function clockAt(start = START) {
  const clock = { now: start, nowMillis: () => clock.now };
  return clock;
}

function bed() {
  const store = createMemoryLedgerStore();
  const clock = clockAt();
  return { store, clock, breaker: createBreaker({ store, clock, logger: silent }) };
}

const isOpen = async (store: LedgerStore) => openBreakers(await readReplayState(store)).includes('target');
const error = new Error('no node answers');

test('five messages in a row that nobody answers open the breaker, of that cluster alone', async () => {
  const { store, breaker } = bed();
  for (let at = 0; at < 4; at++) await breaker.noteAway('target', error);
  await breaker.noteAway('origin', error);
  expect(openBreakers(await readReplayState(store))).toEqual([]);
  expect(await breaker.isOpen('target')).toBe(false);
  await breaker.noteAway('target', error);
  expect(await readReplayState(store)).toMatchObject({
    target: { state: 'open', since: new Date(START).toISOString(), failures: 0, lastError: 'no node answers' },
  });
  expect(await breaker.isOpen('target')).toBe(true);
  expect(await breaker.isOpen('origin')).toBe(false);
});

test('one answer among them and it stays closed', async () => {
  const { store, breaker } = bed();
  for (let at = 0; at < 20; at++) {
    await breaker.noteAway('target', error);
    if (at % 4 === 3) await breaker.noteAnswered('target');
  }
  expect(await isOpen(store)).toBe(false);
});

test('fewer messages open it too, when none was answered for half a minute', async () => {
  const { store, clock, breaker } = bed();
  await breaker.noteAway('target', error);
  clock.now += 29 * SECOND;
  await breaker.noteAway('target', error);
  expect(await isOpen(store)).toBe(false);
  clock.now += 1 * SECOND;
  await breaker.noteAway('target', error);
  expect(await isOpen(store)).toBe(true);
});

test('what another process has opened, or a person has paused, is found open within seconds', async () => {
  const { store, clock, breaker } = bed();
  expect(await breaker.isOpen('target')).toBe(false);
  const paused = { by: 'ana', why: 'maintenance', at: new Date(START).toISOString() };
  await changeReplayState(store, (state) => ({ ...state, paused }));
  clock.now += 2 * SECOND;
  expect(await breaker.isOpen('target')).toBe(true);
  expect(await breaker.isOpen('origin')).toBe(true);
});

test('failures that began before a probe found the cluster back say nothing more', async () => {
  const { store, clock, breaker } = bed();
  const other = createBreaker({ store, clock, logger: silent });
  for (let at = 0; at < 5; at++) await other.noteAway('target', error);
  for (let at = 0; at < 4; at++) await breaker.noteAway('target', error);
  clock.now += SECOND;
  await tendBreaker({ store, clock, logger: silent, flow: undefined, probe: async () => undefined });
  expect(await isOpen(store)).toBe(false);
  clock.now += SECOND;
  await breaker.noteAway('target', error);
  expect(await isOpen(store)).toBe(false);
  // They are forgotten: five more are needed.
  for (let at = 0; at < 5; at++) await breaker.noteAway('target', error);
  expect(await isOpen(store)).toBe(true);
});

test('a ledger that is away opens nothing and breaks nothing', async () => {
  const away = { ...createMemoryLedgerStore(), get: () => Promise.reject(new Error('the ledger is away')) };
  const breaker = createBreaker({ store: away, clock: clockAt(), logger: silent });
  for (let at = 0; at < 6; at++) await breaker.noteAway('target', error);
  expect(await breaker.isOpen('target')).toBe(false);
});

test('a probe is for the breaker that was open when it began', () => {
  const first: ReplayState = { version: 1, paused: null, lag: null };
  const run = { count: 5, sinceMillis: START };
  const open = opened(first, 'target', run, 'away', new Date(START))!;
  const { since } = open.target!;
  expect(opened(open, 'target', run, 'away', new Date(START))).toBeUndefined();
  const still = probed(open, 'target', since, 'still away', new Date(START + 1))!;
  expect(still.target).toMatchObject({ state: 'open', since, failures: 1, lastError: 'still away' });
  const closed = probed(still, 'target', since, null, new Date(START + 2))!;
  expect(closed.target).toMatchObject({ state: 'closed', failures: 0 });
  expect(probed(closed, 'target', since, null, new Date(START + 3))).toBeUndefined();
  const again = opened(closed, 'target', { count: 5, sinceMillis: START + 4 }, 'away', new Date(START + 5))!;
  expect(probed(again, 'target', since, null, new Date(START + 6))).toBeUndefined();
  expect(isFlowing(again)).toBe(false);
});

test('a cluster that went away is asked after seconds, then more and more rarely, and never while somebody has paused it', () => {
  const state = (failures: number, probedAt: number | null): ReplayState => ({
    ...{ version: 1, paused: null, lag: null },
    target: {
      ...{ state: 'open', since: new Date(START).toISOString(), failures, lastError: 'away' },
      probedAt: probedAt === null ? null : new Date(probedAt).toISOString(),
    },
  });
  const minute = 60 * SECOND;
  expect(claimedProbe(state(0, null), minute, START + 4.9 * SECOND)).toBeUndefined();
  expect(claimedProbe(state(0, null), minute, START + 5 * SECOND)).toBeDefined();
  const pauses = [1, 2, 3, 4, 1000].map((failures) => {
    let seconds = 0;
    while (!claimedProbe(state(failures, START), minute, START + seconds * SECOND)) seconds++;
    return seconds;
  });
  expect(pauses).toEqual([10, 20, 40, 60, 60]);
  const paused = { by: 'ana', why: 'maintenance', at: new Date(START).toISOString() };
  expect(claimedProbe({ ...state(0, null), paused }, minute, START + 3600 * SECOND)).toBeUndefined();
  expect(claimedProbe({ version: 1, paused: null, lag: null }, minute, START + 3600 * SECOND)).toBeUndefined();
});

test('of many who come by at once one asks', () => {
  const away = {
    state: 'open',
    since: new Date(START).toISOString(),
    failures: 0,
    lastError: 'away',
    probedAt: null,
  } as const;
  const first = claimedProbe({ version: 1, paused: null, lag: null, target: away }, 60 * SECOND, START + 6 * SECOND)!;
  expect(claimedProbe(first, 60 * SECOND, START + 6 * SECOND)).toBeUndefined();
  // It counts when it has failed.
  const failed = probed(first, 'target', away.since, 'away', new Date(START + 8 * SECOND))!;
  expect(failed.target).toMatchObject({ state: 'open', failures: 1 });
});

/** A cluster that goes and comes, a mapping, and everybody who acts on them; each step may wait for as long as fate says. */
class World {
  readonly clock: Clock;
  readonly store: LedgerStore;
  readonly flow: MessageFlow;
  isUp = true;
  mapping: 'on' | 'off' = 'on';
  readonly #step: <T>(name: string, body: () => T) => Promise<T>;

  constructor(step: <T>(name: string, body: () => T) => Promise<T>) {
    let now = START;
    this.clock = { nowMillis: () => ++now };
    const store = createMemoryLedgerStore();
    this.#step = step;
    this.store = {
      ...store,
      get: (key) => step('get', () => store.get(key)).then((found) => found),
      put: (key, value, version) => step('put', () => store.put(key, value, version)).then((done) => done),
    };
    this.flow = {
      state: () => step('state', () => this.mapping),
      turn: (wanted) =>
        step(`turn ${wanted}`, () => {
          this.mapping = wanted;
        }),
    };
  }

  /** An invocation of the replay function: by the mapping, with eight messages. */
  async invoke(): Promise<void> {
    if (this.mapping === 'off') return;
    const { store, clock } = this;
    const breaker = createBreaker({ store, clock, logger: silent });
    if (!isFlowing(await readReplayState(store))) return;
    for (let message = 0; message < 8; message++) {
      if (await breaker.isOpen('target')) continue;
      const isAnswered = await this.#step('write', () => this.isUp);
      if (isAnswered) await breaker.noteAnswered('target');
      else await breaker.noteAway('target', error);
    }
  }

  async tend(): Promise<void> {
    const { store, clock, flow } = this;
    const probe = () =>
      this.#step('probe', () => {
        if (!this.isUp) throw error;
      });
    await tendBreaker({ store, clock, logger: silent, flow, probe });
  }

  async pause(): Promise<void> {
    const paused = { by: 'ana', why: 'test', at: new Date(START).toISOString() };
    await changeReplayState(this.store, (state) => ({ ...state, paused }));
  }

  async resume(): Promise<void> {
    await changeReplayState(this.store, (state) => ({ ...state, paused: null }));
  }

  turnCluster(isUp: boolean): Promise<void> {
    return this.#step('cluster', () => {
      this.isUp = isUp;
    });
  }
}

const persons = fc.array(fc.constantFrom('pause', 'resume'), { maxLength: 3 });

test('however function, probes and a person come between each other, the flow ends as the cluster and the person say', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.scheduler(),
      fc.record({
        invocations: fc.integer({ min: 1, max: 3 }),
        tends: fc.integer({ min: 1, max: 3 }),
        person: persons,
        outages: fc.array(fc.boolean(), { maxLength: 3 }),
        isUpInTheEnd: fc.boolean(),
      }),
      async (scheduler, { invocations, tends, person, outages, isUpInTheEnd }) => {
        let isFree = false;
        const world = new World(async (name, body) => {
          if (!isFree) await scheduler.schedule(Promise.resolve(), name);
          return body();
        });
        const all = [
          ...Array.from({ length: invocations }, () => world.invoke()),
          ...Array.from({ length: tends }, () => world.tend()),
          (async () => {
            for (const action of person) await world[action as 'pause' | 'resume']();
          })(),
          (async () => {
            for (const isUp of outages) await world.turnCluster(isUp);
          })(),
        ];
        await scheduler.waitFor(Promise.all(all));
        // From here on one after the other: the next minutes.
        isFree = true;
        world.isUp = isUpInTheEnd;
        const isPaused = person.at(-1) === 'pause';
        expect((await readReplayState(world.store)).paused !== null).toBe(isPaused);
        await world.tend();
        await world.invoke();
        await world.tend();
        const state = await readReplayState(world.store);
        expect(state.paused !== null).toBe(isPaused);
        expect(world.mapping).toBe(isFlowing(state) ? 'on' : 'off');
        if (!isPaused) expect(openBreakers(state)).toEqual(isUpInTheEnd ? [] : ['target']);
        if (isPaused) expect(world.mapping).toBe('off');
        // And a person who resumes, with the cluster back, has all flowing at the next look.
        world.isUp = true;
        await world.resume();
        await world.tend();
        expect(world.mapping).toBe('on');
        expect(openBreakers(await readReplayState(world.store))).toEqual([]);
      },
    ),
    { numRuns: 300 },
  );
}, 120_000);

test('a mapping that somebody else switched off is switched on again, and a change of it under way is waited for', async () => {
  const { store, clock } = bed();
  const turned: string[] = [];
  let mapping: 'on' | 'off' | 'changing' = 'off';
  const flow: MessageFlow = {
    state: async () => mapping,
    turn: async (wanted) => {
      turned.push(wanted);
    },
  };
  const tend = () => tendBreaker({ store, clock, logger: silent, flow, probe: async () => undefined });
  await tend();
  expect(turned).toEqual(['on']);
  mapping = 'changing';
  await tend();
  expect(turned).toEqual(['on']);
});

test('while a person has paused the replay no cluster is asked', async () => {
  const { store, clock, breaker } = bed();
  for (let at = 0; at < 5; at++) await breaker.noteAway('target', error);
  const paused = { by: 'ana', why: 'maintenance', at: new Date(START).toISOString() };
  await changeReplayState(store, (state) => ({ ...state, paused }));
  let probes = 0;
  const probe = async () => {
    probes++;
  };
  await tendBreaker({ store, clock, logger: silent, flow: undefined, probe });
  expect(probes).toBe(0);
  await changeReplayState(store, (state) => ({ ...state, paused: null }));
  expect(openBreakers(await tendBreaker({ store, clock, logger: silent, flow: undefined, probe }))).toEqual([]);
  expect(probes).toBe(1);
});

test('a pause that comes while the flow is being switched on is not overlooked', async () => {
  const { store, clock } = bed();
  const turned: string[] = [];
  const flow: MessageFlow = {
    state: async () => 'off',
    turn: async (wanted) => {
      turned.push(wanted);
      const paused = { by: 'ana', why: 'now', at: new Date(START).toISOString() };
      if (wanted === 'on') await changeReplayState(store, (state) => ({ ...state, paused }));
    },
  };
  await tendBreaker({ store, clock, logger: silent, flow, probe: async () => undefined });
  expect(turned).toEqual(['on', 'off']);
});
