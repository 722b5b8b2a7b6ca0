import { randomBytes } from 'node:crypto';
import { HEADER_BYTES, opcodeOf } from '#core/cql/frame.ts';
import { BatchKind, Opcode, QueryFlag } from '#core/cql/protocol.ts';
import {
  applyEdits,
  type Edit,
  type RequestChanges,
  requestEdits,
  type ValueInsertion,
} from '#core/cql/request-edit.ts';
import { type RequestLayout, readRequestLayout, readValues } from '#core/cql/request-layout.ts';
import type { Consistency } from '#core/model/cql-request.ts';
import { replaceFunctions } from '#core/statement/functions.ts';
import { evaluateCall, type ValueSource } from '#core/statement/generated-value.ts';
import type { Statement } from '#core/statement/statement.ts';
import { COPIED_FRAME_BYTES } from './frame-writer.ts';
import { readPagingMark } from './paging.ts';
import type { PreparedEntry, PreparedStatements } from './prepared-statements.ts';
import type { RequestClass } from './route.ts';
import type { ValueLookup } from './tenant.ts';
import type { TimestampGenerator } from './timestamps.ts';
import type { ClusterName } from './upstream/cluster.ts';
import type { OutgoingRequest } from './upstream/upstream-call.ts';

/** One statement of a request, prepared or as text. */
export interface RequestStatement {
  readonly statement: Statement;
  readonly entry: PreparedEntry | undefined;
}

/** What a request consists of. */
export interface RequestParts {
  readonly statements: readonly RequestStatement[];
  /** The prepared statements among them. */
  readonly entries: readonly PreparedEntry[];
  readonly requestClass: RequestClass;
}

/** What reading a request needs besides its bytes. */
export interface RequestContext {
  readonly prepared: PreparedStatements;
  readonly timestamps: TimestampGenerator;
  /** By the client's level; for the target only. */
  readonly targetConsistency: ReadonlyMap<Consistency, Consistency>;
}

const TIMESTAMP_BYTES = 8;
/** With the timestamp, and a little, below what a frame writer copies. */
const MAX_SHARED_BYTES = COPIED_FRAME_BYTES - 64;

const VALUE_SOURCE: ValueSource = { nowMillis: Date.now, randomBytes: () => randomBytes(16) };

/** A request of a client, pinned: its timestamp and generated values are chosen once, for both clusters. */
export class ClientRequest implements OutgoingRequest {
  readonly opcode: number;
  readonly version: number;
  readonly statements: readonly RequestStatement[];
  readonly entries: readonly PreparedEntry[];
  readonly requestClass: RequestClass;
  /** The keyspace of statements that name none. */
  readonly keyspace: string | undefined;
  /** When the proxy took it. Seconds since the epoch. */
  readonly takenAtSeconds: number;
  /** The cluster whose page is continued. */
  pageCluster: ClusterName | undefined;
  readonly #frame: Buffer;
  readonly #offset: number;
  readonly #context: RequestContext;
  readonly #frames: Record<ClusterName, Buffer | undefined> = { origin: undefined, target: undefined };
  #shared: Buffer | undefined;
  #layout: RequestLayout | undefined;
  #pageEdit: Edit | undefined;
  #pinned: Pick<RequestChanges, 'timestampMicros' | 'values'> & { texts?: ReadonlyMap<number, string> } = {};

  constructor(
    frame: Buffer,
    version: number,
    offset: number,
    keyspace: string | undefined,
    parts: RequestParts,
    context: RequestContext,
  ) {
    this.#frame = frame;
    this.#offset = offset;
    this.#context = context;
    this.opcode = opcodeOf(frame);
    this.version = version;
    this.keyspace = keyspace;
    this.statements = parts.statements;
    this.requestClass = parts.requestClass;
    this.entries = parts.entries;
    this.takenAtSeconds = Math.floor(Date.now() / 1000);
  }

  /** Reads where the fields lie, and pins what must be the same on both clusters. @throws ProtocolError */
  readLayout(layout?: RequestLayout): void {
    this.#layout = layout ?? readRequestLayout(this.opcode, this.#frame, this.version, this.#offset);
    const { pagingState, pagingStateOffset, timestampMicros } = this.#layout;
    if (pagingState && pagingStateOffset !== undefined) this.#readPage(pagingState, pagingStateOffset);
    if (this.requestClass === 'read') return;
    this.#pinned = {
      ...(timestampMicros === undefined && this.requestClass === 'write'
        ? { timestampMicros: BigInt(this.#context.timestamps.next()) }
        : {}),
      ...this.#generateValues(),
    };
  }

  /** The same for a read, whose fields are looked at only where somebody asks for them. @throws ProtocolError */
  ensureLayout(): RequestLayout {
    this.#layout ??= readRequestLayout(this.opcode, this.#frame, this.version, this.#offset);
    return this.#layout;
  }

  /** @throws ProtocolError */
  get consistency(): Consistency {
    return this.ensureLayout().consistency;
  }

  /** The write time of everything in it that has none of its own: the client's, or the one pinned here. */
  get timestampMicros(): bigint | undefined {
    return this.#layout?.timestampMicros ?? this.#pinned.timestampMicros;
  }

  /** It asks for a later page. */
  get isContinued(): boolean {
    return this.#layout?.pagingState !== undefined;
  }

  get wasPinned(): boolean {
    return this.#pinned.timestampMicros !== undefined;
  }

  get batchKind(): number | undefined {
    return this.opcode === Opcode.BATCH ? this.#frame[this.#offset] : undefined;
  }

  get isCounterBatch(): boolean {
    return this.batchKind === BatchKind.COUNTER;
  }

  /** Memory that the request holds for as long as it is kept. */
  get byteCount(): number {
    return this.#frame.length;
  }

  /** Values as the client bound them to one of the statements. */
  valuesOf(index: number): ValueLookup {
    let values: ReturnType<typeof readValues> | undefined;
    return (marker, name) => {
      values ??= readValues(this.#frame, this.#layout!.statements[index]!);
      const byName = values[0]?.name === undefined ? undefined : values.find((one) => one.name === name);
      return (byName ?? values[marker])?.value;
    };
  }

  frameFor(cluster: ClusterName): Buffer {
    const shared = this.#sharedFrame(cluster);
    if (shared) return shared;
    this.#frames[cluster] ??= this.#buildFrame(cluster);
    return this.#frames[cluster];
  }

  /** Forgets a built frame: a cluster calls a statement by another id now. */
  forgetFrames(): void {
    this.#frames.origin = undefined;
    this.#frames.target = undefined;
  }

  /**
   * The usual case, a write of one prepared statement: one frame for both clusters, in which only the id differs. The
   * id is written just before the frame is sent, which copies frames of this size at once.
   */
  #sharedFrame(cluster: ClusterName): Buffer | undefined {
    const entry = this.entries[0];
    const id = entry?.upstreamIds[cluster];
    if (this.opcode !== Opcode.EXECUTE || id?.length !== entry?.id.length || this.#frame.length > MAX_SHARED_BYTES) {
      return undefined;
    }
    const { timestampMicros, texts, values } = this.#pinned;
    if (texts || values || this.#pageEdit || this.#context.targetConsistency.size > 0) return undefined;
    this.#shared ??= timestampMicros === undefined ? this.#frame : this.#withTimestamp(timestampMicros);
    id?.copy(this.#shared, this.#offset + 2);
    return this.#shared;
  }

  /** The frame with its default timestamp in place and the flag that says so. */
  #withTimestamp(timestampMicros: bigint): Buffer {
    const { timestampOffset, flagsOffset } = this.#layout!;
    const frame = Buffer.allocUnsafe(this.#frame.length + TIMESTAMP_BYTES);
    this.#frame.copy(frame, 0, 0, timestampOffset);
    frame.writeBigInt64BE(timestampMicros, timestampOffset);
    this.#frame.copy(frame, timestampOffset + TIMESTAMP_BYTES, timestampOffset);
    // The flag is in the lowest byte, which is the last of four in v5.
    const flagsByte = this.version >= 5 ? flagsOffset + 3 : flagsOffset;
    frame[flagsByte] = frame[flagsByte]! | QueryFlag.DEFAULT_TIMESTAMP;
    frame.writeInt32BE(frame.length - HEADER_BYTES, 5);
    return frame;
  }

  #buildFrame(cluster: ClusterName): Buffer {
    const ids = this.#foreignIds(cluster);
    const consistency = this.#consistencyFor(cluster);
    const { texts, ...pinned } = this.#pinned;
    const isUnchanged =
      ids.size === 0 && consistency === undefined && this.#pageEdit === undefined && isEmpty(this.#pinned);
    if (isUnchanged) return this.#frame;
    const layout = this.ensureLayout();
    const statements = new Map<number, { text?: string; id?: Uint8Array }>(ids);
    for (const [index, text] of texts ?? []) statements.set(index, { text });
    const edits = requestEdits(this.#frame, layout, this.version, {
      ...pinned,
      statements,
      ...(consistency === undefined ? {} : { consistency }),
    });
    const frame = applyEdits(this.#frame, this.#pageEdit ? [...edits, this.#pageEdit] : edits);
    if (frame !== this.#frame) frame.writeInt32BE(frame.length - HEADER_BYTES, 5);
    return frame;
  }

  /** Prepared statements that a cluster knows by another id than the proxy's. */
  #foreignIds(cluster: ClusterName): Map<number, { id: Uint8Array }> {
    const ids = new Map<number, { id: Uint8Array }>();
    for (const [index, { entry }] of this.statements.entries()) {
      const id = entry?.upstreamIds[cluster];
      if (id && !id.equals(entry.id)) ids.set(index, { id });
    }
    return ids;
  }

  #consistencyFor(cluster: ClusterName): Consistency | undefined {
    if (cluster !== 'target' || this.#context.targetConsistency.size === 0) return undefined;
    return this.#context.targetConsistency.get(this.consistency);
  }

  #readPage(pagingState: Buffer, pagingStateOffset: number): void {
    const mark = readPagingMark(pagingState);
    if (!mark) return;
    this.pageCluster = mark.cluster;
    if (mark.stateBytes === pagingState.length) return;
    const bytes = Buffer.allocUnsafe(4 + mark.stateBytes);
    bytes.writeInt32BE(mark.stateBytes, 0);
    pagingState.copy(bytes, 4, 0, mark.stateBytes);
    this.#pageEdit = { start: pagingStateOffset, end: pagingStateOffset + 4 + pagingState.length, bytes };
  }

  /** Functions such as now() are evaluated here, once: as literals in a text, as hidden values of a prepared statement. */
  #generateValues(): { texts?: Map<number, string>; values?: Map<number, ValueInsertion[]> } {
    let texts: Map<number, string> | undefined;
    let values: Map<number, ValueInsertion[]> | undefined;
    for (const [index, { statement, entry }] of this.statements.entries()) {
      if (statement.nonDeterministic.length === 0) continue;
      if (entry === undefined) {
        const text = this.#layout!.statements[index]!.text ?? '';
        texts ??= new Map();
        texts.set(index, replaceFunctions(text, (call) => evaluateCall(call, VALUE_SOURCE).literal).text);
      } else if (entry.inserted.length > 0) {
        values ??= new Map();
        values.set(
          index,
          entry.inserted.map(({ position, name, call }) => ({
            position,
            ...(name === undefined ? {} : { name }),
            value: evaluateCall(call, VALUE_SOURCE).bytes,
          })),
        );
      }
    }
    return { ...(texts ? { texts } : {}), ...(values ? { values } : {}) };
  }
}

function isEmpty(pinned: object): boolean {
  for (const _ in pinned) return false;
  return true;
}
