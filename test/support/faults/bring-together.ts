/** After the faults: what is owed is applied, what is marked is looked at, and nothing else may differ. */
import { setTimeout as sleep } from 'node:timers/promises';
import { describeError } from '#core/errors.ts';
import { newRunId, parseValidationInput } from '#core/jobs/validation-plan.ts';
import type { SuspectRecord } from '#core/ledger/records.ts';
import { convergeLocally } from '../../../cli/local-counters.ts';
import { validateLocally } from '../../../cli/local-validation.ts';
import { openRuns } from '../../../cli/runs.ts';
import type { ProxyProcess } from '../proxy-process.ts';
import type { FaultWorld } from './fault-world.ts';

const DRAIN_MS = 600_000;
const POLL_MS = 250;
/** How often in a row the queue must be empty: its counts are approximate. */
const EMPTY_LOOKS = 3;
/** How often the replay is looked after: a schedule allows a minute at the least. */
const TEND_EVERY_LOOKS = 12;

interface ProxyStatus {
  readonly failedWrites: { readonly journalMessages: number; readonly suspectMarksWaiting: number };
  readonly counters: Readonly<Record<string, number>>;
}

/**
 * Resolves when nothing is owed any more: no proxy has anything, and the queue has delivered everything. Resolves to how
 * many messages it has given up.
 */
export async function drain(world: FaultWorld): Promise<number> {
  const deadline = Date.now() + DRAIN_MS;
  let owed: string[] = [];
  let deadLetters = 0;
  for (let look = 0, empty = 0; empty < EMPTY_LOOKS; look++) {
    if (Date.now() > deadline)
      throw new Error(`after ${DRAIN_MS / 1000} s something is still owed: ${owed.join(', ')}`);
    if (look % TEND_EVERY_LOOKS === 0) await world.tendReplay();
    owed = (await Promise.all(world.proxies.map(owedBy))).flat();
    const { waiting, dead } = await world.queue.depth();
    deadLetters = dead;
    if (waiting > 0) owed.push(`${waiting} messages in the queue`);
    empty = owed.length === 0 ? empty + 1 : 0;
    await sleep(POLL_MS);
  }
  return deadLetters;
}

async function owedBy(proxy: ProxyProcess, index: number): Promise<string[]> {
  const { failedWrites, counters } = await proxy.get<ProxyStatus>('/status');
  const { journalMessages, suspectMarksWaiting } = failedWrites;
  const all = { journalMessages, suspectMarksWaiting, shadowInFlight: counters['shadowInFlight'] ?? 0 };
  return Object.entries(all).flatMap(([name, count]) => (count > 0 ? [`${name} ${count} of proxy ${index}`] : []));
}

export async function readMarks(configFile: string, of: readonly string[]): Promise<readonly SuspectRecord[]> {
  const { ledger } = await openRuns(configFile);
  return (await ledger.listSuspects()).filter(({ keyspace }) => of.includes(keyspace));
}

/** What `ringshift validate start --local --suspects --reconcile` does. Resolves to what came of it. */
export function reconcileMarks(configFile: string, keyspaces: readonly string[]): Promise<string> {
  return validate(configFile, keyspaces, { suspects: true, reconcile: true });
}

/** The same with everything, so that the tables are known to be equal. */
export function validateAll(configFile: string, keyspaces: readonly string[]): Promise<string> {
  return validate(configFile, keyspaces, { reconcile: true });
}

/** What `ringshift reconcile --counters --quiesced` does: nobody may count meanwhile. */
export function reconcileCounters(configFile: string, keyspaces: readonly string[]): Promise<string> {
  return forEach(keyspaces, 'counters', async (keyspace) =>
    convergeLocally({ keyspace, tables: undefined }, await openRuns(configFile)),
  );
}

function validate(
  configFile: string,
  keyspaces: readonly string[],
  how: { readonly suspects?: boolean; readonly reconcile: boolean },
): Promise<string> {
  return forEach(keyspaces, JSON.stringify(how), async (keyspace) => {
    const runId = newRunId('validation', keyspace, new Date(), Math.random());
    return validateLocally(runId, parseValidationInput({ keyspace, ...how }), await openRuns(configFile));
  });
}

/** A refusal is an outcome: whether everything was brought together shows in the clusters. */
async function forEach(
  keyspaces: readonly string[],
  what: string,
  work: (keyspace: string) => Promise<unknown>,
): Promise<string> {
  const said = await Promise.all(
    keyspaces.map(async (keyspace) => {
      const outcome = await work(keyspace).then(JSON.stringify, describeError);
      return `${keyspace}, ${what}: ${outcome}`;
    }),
  );
  return said.join('\n');
}
