import { createHash } from 'node:crypto';
import { LRUCache } from 'lru-cache';
import { rewritePrepared } from '#core/cql/hidden-markers.ts';
import { decodeResult } from '#core/cql/result-message.ts';
import type { Filter } from '#core/filter/filter.ts';
import type { ClusterName } from '#core/model/cluster-name.ts';
import type { ResultColumn } from '#core/model/cql-request.ts';
import { classify } from '#core/statement/classify.ts';
import { type InsertedMarker, insertMarkers } from '#core/statement/functions.ts';
import { mayWriteList } from '#core/statement/list-writes.ts';
import type { Statement } from '#core/statement/statement.ts';
import type { TableCounters } from '../counters/table-counters.ts';
import type { UsualPlace } from '../in-flight/in-flight-port.ts';
import { type TopologyTable, topologyTable } from '../system-tables/columns.ts';
import type { RequestParts, RequestStatement } from './client-request.ts';
import { classOf, type RequestClass } from './route.ts';
import type { Exclusion } from './tenant.ts';

/** What a client has prepared. */
export interface PreparedText {
  readonly text: string;
  /** The keyspace in force. */
  readonly keyspace: string | undefined;
}

/** A statement that some client has prepared, and what each cluster calls it. */
export interface PreparedEntry {
  /** The proxy's own, the same on every instance and in every phase. */
  readonly id: Buffer;
  /** What is prepared upstream: the client's text, with markers in the place of non-deterministic functions. */
  readonly text: string;
  /** The client's own text, of which the id is made. */
  readonly clientText: string;
  /** The keyspace in force when it was prepared. */
  readonly keyspace: string | undefined;
  readonly statement: Statement;
  readonly requestClass: RequestClass;
  readonly inserted: readonly InsertedMarker[];
  readonly topology: TopologyTable | undefined;
  /** What a request that executes nothing else consists of; made once, because it is the usual request. */
  readonly alone: RequestParts;
  readonly upstreamIds: Record<ClusterName, Buffer | undefined>;
  /** Of all markers, the inserted ones included; known after the first PREPARED. */
  markers: readonly ResultColumn[] | undefined;
  /** The partition key of its table, in order; undefined: not wholly bound to markers, or the protocol does not say (v3). */
  keyColumns?: readonly string[] | undefined;
  /** Where its writes are noted; made at first use. */
  place?: UsualPlace | undefined;
  /** Perhaps a list, whose writes keep their order; known after the first PREPARED. */
  mayWriteList?: boolean;
  /** What it writes may expire; as of `expiryAsOf`, a generation of what is known of tables. @see Expiry */
  mayExpire: boolean;
  expiryAsOf: number;
  /** By `performance.now`; where its table is not known, it is asked for again after that. */
  expiryUntilMs: number;
  /** Of its table; kept here at first use, so that a write looks nothing up. */
  tableCounters: TableCounters | undefined;
  /** The ledger was told of its tables before it left, where that is wanted. @see WrittenTables */
  isAnnounced: boolean;
  /** Of a topology table's answer without metadata. */
  resultColumns: readonly ResultColumn[] | undefined;
  /** What tells its result columns from others; known after the first PREPARED. */
  resultShape?: string;
  /** A cluster has given it other result columns since: who prepared it before can't read an answer without metadata. */
  isReshaped?: boolean;
  /** What the filter that was in force last says of it, if its values do not matter. */
  exclusion?: { readonly filter: Filter; readonly decision: Exclusion | undefined };
}

const MAX_BYTES = 64 * 1024 * 1024;
const ENTRY_OVERHEAD_BYTES = 1024;

/** All prepared statements of this instance, the least recently used forgotten first: clients prepare them again. */
export class PreparedStatements {
  readonly #entries: LRUCache<string, PreparedEntry>;
  #evictionCount = 0;
  /** Called with each statement that was not known before. */
  onNew: ((statement: PreparedText) => void) | undefined;

  constructor(maxBytes: number = MAX_BYTES) {
    this.#entries = new LRUCache({
      maxSize: maxBytes,
      sizeCalculation: (entry) => ENTRY_OVERHEAD_BYTES + entry.text.length * 4,
      dispose: (_entry, _key, reason) => {
        if (reason === 'evict') this.#evictionCount++;
      },
    });
  }

  /** The one that was found last. */
  #last: PreparedEntry | undefined;

  get size(): number {
    return this.#entries.size;
  }

  /** Their memory, estimated. */
  get byteCount(): number {
    return this.#entries.calculatedSize;
  }

  /** How many were forgotten for room. */
  get evictionCount(): number {
    return this.#evictionCount;
  }

  /** The most recently used, at most so many. */
  recent(count: number): PreparedText[] {
    const texts: PreparedText[] = [];
    for (const { clientText, keyspace } of this.#entries.values()) {
      if (texts.length >= count) break;
      texts.push({ text: clientText, keyspace });
    }
    return texts;
  }

  /** Takes over statements that clients have prepared elsewhere; clusters are asked when they are first executed. */
  learn(statements: readonly PreparedText[]): void {
    const { onNew } = this;
    this.onNew = undefined;
    for (const { text, keyspace } of statements) this.entryOf(text, keyspace);
    this.onNew = onNew;
  }

  find(id: Buffer): PreparedEntry | undefined {
    return this.#entries.get(id.toString('latin1'));
  }

  /** The entry whose id lies at [start, end) of a frame. */
  findIn(frame: Buffer, start: number, end: number): PreparedEntry | undefined {
    const last = this.#last;
    // It was used last, so there is no use to note.
    if (last && isAt(last.id, frame, start, end)) return last;
    const found = this.#entries.get(frame.toString('latin1', start, end));
    this.#last = found;
    return found;
  }

  /** The entry of a text; made when there is none. */
  entryOf(text: string, keyspace: string | undefined): PreparedEntry {
    const id = idOf(text, keyspace);
    const key = id.toString('latin1');
    const known = this.#entries.get(key);
    if (known) return known;
    const entry = newEntry(id, text, keyspace);
    this.#entries.set(key, entry);
    this.onNew?.({ text, keyspace });
    return entry;
  }
}

const USUAL_TEXT = /^\s*(select|insert|update|delete|begin|create|alter|drop|truncate|grant|revoke|list|use)\b/i;
const USUAL_KEYSPACE = /^\w{1,48}$/;

/**
 * As Cassandra makes it. A client may name any keyspace, and one such as `IN` with the text `SERT INTO …` must not get the
 * id of another client's statement: what is not usual has an id of another kind.
 */
function idOf(text: string, keyspace: string | undefined): Buffer {
  const isUsual = USUAL_TEXT.test(text) && (keyspace === undefined || USUAL_KEYSPACE.test(keyspace));
  const named = isUsual ? (keyspace ?? '') + text : JSON.stringify([keyspace ?? null, text]);
  return createHash('md5').update(named).digest();
}

function isAt(id: Buffer, frame: Buffer, start: number, end: number): boolean {
  if (end - start !== id.length) return false;
  for (let index = 0; index < id.length; index++) if (frame[start + index] !== id[index]) return false;
  return true;
}

function newEntry(id: Buffer, text: string, keyspace: string | undefined): PreparedEntry {
  const statement = classify(text);
  const isRewritten = !statement.isRead && statement.nonDeterministic.length > 0;
  const rewritten = isRewritten ? insertMarkers(text) : { text, inserted: [] };
  const entries: PreparedEntry[] = [];
  const requestClass = classOf(statement);
  const statements: RequestStatement[] = [];
  const entry: PreparedEntry = {
    id,
    text: rewritten.text,
    clientText: text,
    keyspace,
    statement,
    requestClass,
    alone: { statements, entries, requestClass },
    inserted: rewritten.inserted,
    topology: statement.isRead ? topologyTable(statement.keyspace ?? keyspace, statement.table) : undefined,
    upstreamIds: { origin: undefined, target: undefined },
    markers: undefined,
    mayExpire: true,
    expiryAsOf: -1,
    expiryUntilMs: 0,
    tableCounters: undefined,
    isAnnounced: false,
    resultColumns: undefined,
  };
  entries.push(entry);
  statements.push({ statement, entry });
  return entry;
}

/** Takes over what a cluster says of a prepared statement; the body is that of a RESULT of kind Prepared. */
export function learnPrepared(
  entry: PreparedEntry,
  cluster: ClusterName,
  body: Buffer,
  version: number,
  offset: number,
): void {
  const result = decodeResult(body, version, offset);
  if (result.kind !== 'prepared') return;
  entry.upstreamIds[cluster] = Buffer.from(result.prepared.id);
  const { markers, partitionKeyIndexes } = result.prepared;
  entry.markers = markers;
  const keyColumns = partitionKeyIndexes.map((index) => markers[index]?.name ?? '');
  if (keyColumns.length > 0 && keyColumns.join() !== entry.keyColumns?.join()) {
    entry.keyColumns = keyColumns;
    entry.place = undefined;
  }
  entry.mayWriteList = mayWriteList(
    entry.statement,
    markers.some(({ type }) => type.kind === 'list'),
  );
  const { columns } = result.prepared.result;
  entry.resultColumns = entry.topology === undefined ? undefined : columns;
  const shape = shapeOf(columns ?? []);
  if (entry.resultShape !== undefined && entry.resultShape !== shape) entry.isReshaped = true;
  entry.resultShape = shape;
}

/** Names and types in their order, in few bytes. */
function shapeOf(columns: readonly ResultColumn[]): string {
  const text = JSON.stringify(columns.map(({ name, type }) => [name, type]));
  return createHash('md5').update(text).digest('base64');
}

/**
 * The PREPARED body for the client, what lies before its message included: the proxy's id, and only the markers that the
 * client wrote. Everything else stays as the cluster wrote it.
 */
export function preparedForClient(entry: PreparedEntry, body: Buffer, version: number, offset: number): Buffer {
  const hidden = entry.inserted.map((marker) => marker.position);
  return rewritePrepared(body, version, { id: entry.id, hidden }, offset);
}
