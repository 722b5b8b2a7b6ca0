import type { Phase } from '../config/schema.ts';
import { GateClosedError, LedgerConflictError } from '../errors.ts';
import type { Clock, LedgerStore } from '../ports.ts';
import { firstPhaseRecord } from './phase-change.ts';
import { type ClaimedRange, claimRange, type RangeClaim } from './range-claim.ts';
import {
  type FaceRecord,
  faceRecordSchema,
  type PhaseRecord,
  type ProxyRecord,
  parseRecord,
  phaseRecordSchema,
  proxyRecordSchema,
  type RangeRecord,
  type RunKind,
  type RunRecord,
  rangeRecordSchema,
  runRecordSchema,
  type SuspectRecord,
  type TableRecord,
  type TableState,
  tableRecordSchema,
} from './records.ts';
import { giveLock, rangePrefix, runKey, startRun } from './run-start.ts';
import { type NamedSuspect, parseSuspect, suspectKey } from './suspects.ts';

const PHASE_KEY = 'phase.json';
const FACE_KEY = 'face.json';
const MAX_REASONS = 50;
const MAX_CONFLICTS = 20;

/** Typed access to what both halves agree on. Every change of a shared record is a compare-and-set. */
export interface Ledger {
  readonly store: LedgerStore;
  /** undefined before the first start. */
  readPhase(): Promise<PhaseRecord | undefined>;
  /** Writes the first phase unless there is one; resolves to the one in force. */
  initPhase(phase: Phase, by: string, now: Date): Promise<PhaseRecord>;
  /** Reads, changes, writes; again after a conflict. `change` throws to refuse. */
  changePhase(change: (record: PhaseRecord) => PhaseRecord): Promise<PhaseRecord>;

  /** undefined before the first start. */
  readFace(): Promise<FaceRecord | undefined>;
  /** Reads, changes, writes; again after a conflict. `change` gives undefined to leave it as it is. */
  changeFace(change: (record: FaceRecord | undefined) => FaceRecord | undefined): Promise<FaceRecord | undefined>;

  putProxy(record: ProxyRecord): Promise<void>;
  /**
   * Writes the record of this process over the one of this version, without a look at it before; null: there is none.
   * @returns the new version
   * @throws LedgerConflictError when somebody else has written it
   */
  renewProxy(record: ProxyRecord, version: string | null): Promise<string>;
  readProxy(instance: string): Promise<{ readonly record: ProxyRecord; readonly version: string } | undefined>;
  /** Declares an instance dead. False: there is none of this name. */
  fenceProxy(instance: string, now: Date): Promise<boolean>;
  listProxies(): Promise<readonly ProxyRecord[]>;
  /**
   * @param version the record must still have it; left out: whatever is there
   * @throws LedgerConflictError when somebody has written it since
   */
  removeProxy(instance: string, version?: string): Promise<void>;

  readTable(keyspace: string, table: string): Promise<TableRecord | undefined>;
  listTables(): Promise<readonly TableRecord[]>;
  setTable(keyspace: string, table: string, state: TableState, info: TableChange): Promise<TableRecord>;
  /** Sets the state that `decide` finds right for the record as it is at the moment of writing; undefined: no change. */
  decideTable(
    keyspace: string,
    table: string,
    decide: (record: TableRecord | undefined) => (TableChange & { readonly state: TableState }) | undefined,
  ): Promise<TableRecord | undefined>;

  /**
   * Starts a run unless another of its kind is running on the keyspace, or its id was used before. A call that is
   * repeated because its answer was lost starts the same run.
   * @throws GateClosedError naming the other run
   */
  startRun(record: RunRecord): Promise<void>;
  readRun(runId: string): Promise<RunRecord | undefined>;
  listRuns(kind?: RunKind): Promise<readonly RunRecord[]>;
  /** Ends a run and gives its keyspace free. A load that was stopped stays so, and one that has ended is not stopped. */
  endRun(runId: string, state: RunRecord['state'], now: Date): Promise<void>;
  /** Changes a run's own figures (range count, bytes). */
  updateRun(runId: string, change: Partial<RunRecord>): Promise<void>;

  putRange(record: RangeRecord): Promise<void>;
  readRange(runId: string, index: number): Promise<RangeRecord | undefined>;
  listRanges(runId: string): Promise<readonly RangeRecord[]>;
  /**
   * Takes a range that must have one writer only, waiting for the lease of a call that died.
   * @throws GateClosedError when another call is at work on it
   */
  claimRange(
    range: ClaimedRange,
    ports: { readonly clock: Clock; readonly sleep: (ms: number) => Promise<void> },
  ): Promise<RangeClaim>;

  addSuspect(id: string, record: SuspectRecord): Promise<void>;
  /** Without those that a comparison has cleared. */
  listSuspects(): Promise<readonly NamedSuspect[]>;
  removeSuspect(keyspace: string, table: string, id: string): Promise<void>;
}

export interface TableChange {
  readonly now: Date;
  readonly by: string;
  readonly runId?: string | null;
  readonly reason?: string;
  /** What else is known of it from now on; undefined takes a fact away. What is not named stays as it is. */
  readonly facts?: Partial<
    Pick<TableRecord, 'loadedAt' | 'validatedAt' | 'remigrate' | 'truncatedAt' | 'definedAt' | 'order'>
  >;
}

const tableKey = (keyspace: string, table: string) => `tables/${keyspace}.${table}.json`;
const rangeKey = (runId: string, index: number) => `${rangePrefix(runId)}${String(index).padStart(8, '0')}.json`;
const proxyKey = (instance: string) => `proxies/${encodeURIComponent(instance)}.json`;

/** Whether a record belongs to a living process that is not this one. A release without process ids counts as one. */
export function isHeldByAnother(record: ProxyRecord, processId: string | undefined, now: Date): boolean {
  return record.processId !== processId && Date.parse(record.leaseUntil) >= now.getTime();
}

/** The ledger over a store. */
export function createLedger(store: LedgerStore): Ledger {
  async function changeRecord(
    key: string,
    change: (text: string | undefined) => string | undefined,
  ): Promise<string | undefined> {
    for (let attempt = 1; ; attempt++) {
      const found = await store.get(key);
      const next = change(found?.value);
      if (next === undefined) return found?.value;
      try {
        await store.put(key, next, found?.version ?? null);
        return next;
      } catch (error) {
        if (!(error instanceof LedgerConflictError) || attempt >= MAX_CONFLICTS) throw error;
      }
    }
  }

  async function all<T>(prefix: string, parse: (key: string, text: string) => T): Promise<T[]> {
    const records: T[] = [];
    for await (const { key, value } of store.entries(prefix)) records.push(parse(key, value));
    return records;
  }

  const ledger: Ledger = {
    store,

    async readPhase() {
      const found = await store.get(PHASE_KEY);
      return found && parseRecord(phaseRecordSchema, PHASE_KEY, found.value);
    },

    async initPhase(phase, by, now) {
      try {
        const record = firstPhaseRecord(phase, by, now);
        await store.put(PHASE_KEY, JSON.stringify(record), null);
        return record;
      } catch (error) {
        if (!(error instanceof LedgerConflictError)) throw error;
        return (await ledger.readPhase()) ?? firstPhaseRecord(phase, by, now);
      }
    },

    async changePhase(change) {
      const text = await changeRecord(PHASE_KEY, (found) => {
        if (found === undefined) {
          throw new GateClosedError('phase change', ['no phase was ever set; start a proxy first']);
        }
        return JSON.stringify(change(parseRecord(phaseRecordSchema, PHASE_KEY, found)));
      });
      return parseRecord(phaseRecordSchema, PHASE_KEY, text ?? '');
    },

    async readFace() {
      const found = await store.get(FACE_KEY);
      return found && parseRecord(faceRecordSchema, FACE_KEY, found.value);
    },
    async changeFace(change) {
      const text = await changeRecord(FACE_KEY, (found) => {
        const next = change(found === undefined ? undefined : parseRecord(faceRecordSchema, FACE_KEY, found));
        return next && JSON.stringify(next);
      });
      return text === undefined ? undefined : parseRecord(faceRecordSchema, FACE_KEY, text);
    },

    async putProxy(record) {
      await store.put(proxyKey(record.instance), JSON.stringify(record));
    },
    renewProxy: (record, version) => store.put(proxyKey(record.instance), JSON.stringify(record), version),
    async readProxy(instance) {
      const key = proxyKey(instance);
      const found = await store.get(key);
      return found && { record: parseRecord(proxyRecordSchema, key, found.value), version: found.version };
    },
    async fenceProxy(instance, now) {
      const key = proxyKey(instance);
      const text = await changeRecord(key, (found) => {
        const record = found === undefined ? undefined : parseRecord(proxyRecordSchema, key, found);
        if (record === undefined || record.fencedAt !== undefined) return undefined;
        return JSON.stringify({ ...record, fencedAt: now.toISOString() });
      });
      return text !== undefined;
    },
    listProxies: () => all('proxies/', (key, text) => parseRecord(proxyRecordSchema, key, text)),
    removeProxy: (instance, version) => store.remove(proxyKey(instance), version),

    async readTable(keyspace, table) {
      const key = tableKey(keyspace, table);
      const found = await store.get(key);
      return found && parseRecord(tableRecordSchema, key, found.value);
    },
    listTables: () => all('tables/', (key, text) => parseRecord(tableRecordSchema, key, text)),
    async setTable(keyspace, table, state, info) {
      const record = await ledger.decideTable(keyspace, table, () => ({ ...info, state }));
      return record!;
    },
    async decideTable(keyspace, table, decide) {
      const key = tableKey(keyspace, table);
      const text = await changeRecord(key, (found) => {
        const old = found === undefined ? undefined : parseRecord(tableRecordSchema, key, found);
        const info = decide(old);
        if (info === undefined) return undefined;
        const { state } = info;
        const at = info.now.toISOString();
        const reasons = [...(old?.reasons ?? [])];
        if (info.reason) reasons.push({ at, reason: info.reason, by: info.by });
        const record: TableRecord = {
          ...old,
          version: 1,
          keyspace,
          table,
          state,
          since: old?.state === state ? old.since : at,
          runId: info.runId === undefined ? (old?.runId ?? null) : info.runId,
          reasons: reasons.slice(-MAX_REASONS),
          ...info.facts,
        };
        return JSON.stringify(record);
      });
      return text === undefined ? undefined : parseRecord(tableRecordSchema, key, text);
    },

    startRun: (record) => startRun(record, store),
    async readRun(runId) {
      const found = await store.get(runKey(runId));
      return found && parseRecord(runRecordSchema, runKey(runId), found.value);
    },
    async listRuns(kind) {
      const runs = await all('runs/', (key, text) => parseRecord(runRecordSchema, key, text));
      return runs
        .filter((run) => kind === undefined || run.kind === kind)
        .sort((a, b) => a.startedAt.localeCompare(b.startedAt));
    },
    async endRun(runId, state, now) {
      const text = await changeRecord(runKey(runId), (found) => {
        const run = found === undefined ? undefined : parseRecord(runRecordSchema, runKey(runId), found);
        if (run === undefined || (state === 'stopped' && run.state !== 'running')) return undefined;
        // Its own process may come to its end later than whoever stopped it.
        if (run.kind === 'load' && run.state === 'stopped') return undefined;
        return JSON.stringify({ ...run, state, endedAt: now.toISOString() });
      });
      if (text !== undefined) await giveLock(parseRecord(runRecordSchema, runKey(runId), text), store);
    },
    async updateRun(runId, change) {
      await changeRecord(runKey(runId), (found) => {
        if (found === undefined) throw new GateClosedError('run update', [`there is no run ${runId}`]);
        return JSON.stringify({ ...parseRecord(runRecordSchema, runKey(runId), found), ...change });
      });
    },

    async putRange(record) {
      await store.put(rangeKey(record.runId, record.index), JSON.stringify(record));
    },
    async readRange(runId, index) {
      const key = rangeKey(runId, index);
      const found = await store.get(key);
      return found && parseRecord(rangeRecordSchema, key, found.value);
    },
    claimRange: (range, ports) => claimRange(range, store, ports),
    listRanges: (runId) => all(rangePrefix(runId), (key, text) => parseRecord(rangeRecordSchema, key, text)),

    async addSuspect(id, record) {
      await store.put(suspectKey(record.keyspace, record.table, id), JSON.stringify(record));
    },
    listSuspects: async () => (await all('suspects/', parseSuspect)).filter(({ clearedAt }) => clearedAt === undefined),
    removeSuspect: (keyspace, table, id) => store.remove(suspectKey(keyspace, table, id)),
  };
  return ledger;
}
