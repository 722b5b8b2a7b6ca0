/**
 * Which range of a load comes next: the items of its plan are tickets, and each takes the next range of the table that
 * comes first at that moment. So the order of tables can be changed while the load runs.
 */

import { z } from 'zod';
import { LedgerConflictError, LedgerUnavailableError } from '../errors.ts';
import type { Ledger } from '../ledger/ledger.ts';
import { parseRecord } from '../ledger/records.ts';
import type { LedgerStore, ObjectStore } from '../ports.ts';
import type { LoadItem } from './load-plan.ts';
import { inOrder } from './stale-tables.ts';
import { runKeys } from './validation-plan.ts';

interface TicketPorts {
  readonly ledger: Ledger;
  readonly objects: ObjectStore;
}

/** `tickets/<runId>/own/<ticket>.json`: the range that the ticket wants, and has if no other ticket has it. */
const ownSchema = z.object({ version: z.literal(1), range: z.int().min(0) });
/** `tickets/<runId>/ranges/<index>.json`: whose range it is, for good. */
const takenSchema = z.object({ version: z.literal(1), ticket: z.int().min(0) });

/** Tickets that come at the same moment look for a range in so many places, so that few meet. */
const SPREAD = 16;
const MAX_CONFLICTS = 10_000;

const numbered = (index: number) => `${String(index).padStart(8, '0')}.json`;
const ownKey = (runId: string, ticket: number) => `tickets/${runId}/own/${numbered(ticket)}`;
const takenPrefix = (runId: string) => `tickets/${runId}/ranges/`;
const takenKey = (runId: string, range: number) => `${takenPrefix(runId)}${numbered(range)}`;

/**
 * The item that a ticket stands for, the same whenever it is asked for. Every ticket has one, and none is another's.
 * Counters keep their ranges: each has one writer.
 * @param ticket an item of the plan, or what this has given before
 */
export async function takeRange(ticket: LoadItem, ports: TicketPorts): Promise<LoadItem> {
  if (ticket.ticket !== undefined || ticket.counters) return ticket;
  const { runId } = ticket;
  const { store } = ports.ledger;
  const number = ticket.index;
  let items: readonly LoadItem[] | undefined;
  for (let attempt = 1; attempt <= MAX_CONFLICTS; attempt++) {
    const own = await store.get(ownKey(runId, number));
    const wanted = own && parseRecord(ownSchema, ownKey(runId, number), own.value).range;
    items ??= await readPlan(ticket, ports.objects);
    // Of a plan that was made anew under its id, a range may be gone.
    const item = wanted === undefined ? undefined : items[wanted];
    if (item !== undefined && (await holderOf(runId, item.index, number, store)) === number) {
      return { ...item, ticket: number };
    }
    const next = await nextRange(runId, number, items, ports.ledger);
    if (next !== undefined) await putOwn(runId, number, next, own?.version ?? null, store);
    // Unless another call of this ticket has taken the last one.
    else if ((await store.get(ownKey(runId, number)))?.version === own?.version) break;
  }
  throw new LedgerConflictError(`ticket ${number} of ${runId} finds no range that others do not take`);
}

async function readPlan(ticket: LoadItem, objects: ObjectStore): Promise<readonly LoadItem[]> {
  const body = await objects.get(runKeys.plan(ticket.runId));
  if (body === undefined) throw new LedgerUnavailableError(`${objects.name} has no plan of ${ticket.runId}`);
  return JSON.parse(new TextDecoder().decode(body)) as LoadItem[];
}

/** Takes the range for the ticket unless another has it. Resolves to whose it is. */
async function holderOf(runId: string, range: number, ticket: number, store: LedgerStore): Promise<number> {
  const key = takenKey(runId, range);
  try {
    await store.put(key, JSON.stringify({ version: 1, ticket }), null);
    return ticket;
  } catch (error) {
    if (!(error instanceof LedgerConflictError)) throw error;
    const found = await store.get(key);
    if (found === undefined) throw error;
    return parseRecord(takenSchema, key, found.value).ticket;
  }
}

/** Another call of the same ticket may be faster; then its word counts. */
async function putOwn(
  runId: string,
  ticket: number,
  range: number,
  expected: string | null,
  store: LedgerStore,
): Promise<void> {
  try {
    await store.put(ownKey(runId, ticket), JSON.stringify({ version: 1, range }), expected);
  } catch (error) {
    if (!(error instanceof LedgerConflictError)) throw error;
  }
}

/** undefined when all are taken. */
async function nextRange(
  runId: string,
  ticket: number,
  items: readonly LoadItem[],
  ledger: Ledger,
): Promise<number | undefined> {
  const taken = new Set<number>();
  const prefix = takenPrefix(runId);
  for await (const key of ledger.store.list(prefix)) taken.add(Number.parseInt(key.slice(prefix.length), 10));
  const free = items.filter(({ index }) => !taken.has(index));
  const tables = [...new Set(free.map(({ table }) => table))];
  const first = tables.length < 2 ? tables[0] : await firstOf(items[0]!.keyspace, tables, ledger);
  const candidates = free.filter(({ table }) => table === first);
  return candidates[ticket % Math.min(SPREAD, candidates.length)]?.index;
}

async function firstOf(keyspace: string, tables: readonly string[], ledger: Ledger): Promise<string | undefined> {
  const records = await Promise.all(tables.map((table) => ledger.readTable(keyspace, table)));
  const known = records.flatMap((record) => (record === undefined ? [] : [record]));
  return inOrder(tables, (table) => table, known)[0];
}
