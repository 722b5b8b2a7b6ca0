import { HEADER_BYTES, opcodeOf } from '#core/cql/frame.ts';
import { BatchKind, Opcode, QueryFlag } from '#core/cql/protocol.ts';
import { applyEdits, type Edit, requestEdits } from '#core/cql/request-edit.ts';
import {
  executeFlagsOffset,
  type RequestLayout,
  readRequestLayout,
  readValues,
  timestampGap,
} from '#core/cql/request-layout.ts';
import type { ClusterName } from '#core/model/cluster-name.ts';
import type { Consistency } from '#core/model/cql-request.ts';
import { LATE_TTL_MS } from '#core/statement/may-expire.ts';
import type { Statement } from '#core/statement/statement.ts';
import { NOT_NOTED } from '../in-flight/in-flight-port.ts';
import { COPIED_FRAME_BYTES } from '../transport/frame-writer.ts';
import { ownBytes } from '../transport/own-bytes.ts';
import type { OutgoingRequest } from '../upstream/upstream-call.ts';
import { withTimes } from '../writes/pin-timestamp.ts';
import { type GeneratedValues, generateValues } from './generated-values.ts';
import { readPagingMark, unmarkedPage } from './paging.ts';
import type { PreparedEntry } from './prepared-statements.ts';
import type { RequestContext } from './request-context.ts';
import type { RequestClass } from './route.ts';
import type { ValueLookup } from './tenant.ts';

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

/** With the timestamp, and a little, below what a frame writer copies. */
export const MAX_SHARED_BYTES = COPIED_FRAME_BYTES - 64;

/** A request of a client, pinned: its timestamp and generated values are chosen once, for both clusters. */
export class ClientRequest implements OutgoingRequest {
  readonly opcode: number;
  readonly version: number;
  readonly statements: readonly RequestStatement[];
  readonly entries: readonly PreparedEntry[];
  readonly requestClass: RequestClass;
  /** The keyspace of statements that name none. */
  readonly keyspace: string | undefined;
  textKeyspace: string | undefined;
  /** Its number in the log of writes under way. */
  sequence = NOT_NOTED;
  /**
   * Answered later than this, on the clock of `performance.now`, its copy may live longer than the original: each server
   * counts a TTL by its own clock. Infinity: it has none, or both count from one instant.
   */
  lateAfterMs = Number.POSITIVE_INFINITY;
  /** The cluster whose page is continued. */
  pageCluster: ClusterName | undefined;
  /** As the client sent it, until its times are pinned in it. */
  #frame: Buffer;
  readonly #offset: number;
  readonly #context: RequestContext;
  readonly #takenMs: number;
  #frames: Record<ClusterName, Buffer | undefined> | undefined;
  #layout: RequestLayout | undefined;
  #pageEdit: Edit | undefined;
  #isPinned = false;
  #countsFromArrival = false;
  #isKept = false;
  #generated: GeneratedValues | undefined;

  constructor(
    frame: Buffer,
    version: number,
    offset: number,
    keyspace: string | undefined,
    parts: RequestParts,
    context: RequestContext,
    takenMs = performance.now(),
  ) {
    this.#frame = frame;
    this.#offset = offset;
    this.#context = context;
    this.#takenMs = takenMs;
    this.opcode = opcodeOf(frame);
    this.version = version;
    this.keyspace = keyspace;
    this.statements = parts.statements;
    this.requestClass = parts.requestClass;
    this.entries = parts.entries;
  }

  /** Reads where the fields lie, and pins what must be the same on both clusters. @throws ProtocolError */
  readLayout(layout?: RequestLayout): void {
    this.#layout = layout ?? readRequestLayout(this.opcode, this.#frame, this.version, this.#offset);
    const { pagingState, pagingStateOffset, timestampMicros } = this.#layout;
    if (pagingState && pagingStateOffset !== undefined) this.#readPage(pagingState, pagingStateOffset);
    if (this.requestClass === 'read') return;
    // First: it reads texts of the frame that the layout belongs to.
    this.#generated = generateValues(this.statements, this.#layout);
    if (this.requestClass !== 'write') return;
    const { flagsOffset, timestampOffset, nowInSeconds, nowOffset } = this.#layout;
    const hasNow = nowInSeconds !== undefined;
    this.#pin(flagsOffset, timestampMicros === undefined ? timestampOffset : undefined, hasNow ? undefined : nowOffset);
  }

  /** It leaves for the primary. */
  noteSent(): void {
    if (this.#countsFromArrival) this.lateAfterMs = performance.now() + LATE_TTL_MS;
  }

  /** Once it was sent: what it writes may expire, and each server counts from when it gets it. */
  get isCountedByServers(): boolean {
    return this.lateAfterMs < Number.POSITIVE_INFINITY;
  }

  /** A replay counts from when the proxy took it, which may have been long before the primary had it. */
  get endsEarlyByReplay(): boolean {
    return this.isCountedByServers && performance.now() - this.#takenMs > LATE_TTL_MS;
  }

  /** Whether what it writes may expire. Of a table that was not known a moment ago, say after a schema change, it may. */
  get mayExpire(): boolean {
    return this.#context.expiry.ofAny(this.statements, this.keyspace);
  }

  /** The same by what is known of its tables now; undefined: nothing is. */
  get mayExpireNow(): boolean | undefined {
    return this.#context.expiry.ofAnyNow(this.statements, this.keyspace);
  }

  /** The same once its tables have been asked for. Never rejects. */
  mayExpireOnceKnown(): Promise<boolean> {
    return this.#context.expiry.ofAnyOnceKnown(this.statements, this.keyspace);
  }

  /**
   * The same for the usual write, one prepared statement, without making a layout.
   * @param flagsOffset of its parameters
   * @throws ProtocolError, RangeError
   */
  pinExecute(flagsOffset: number): void {
    const isPlain = this.requestClass === 'write' && this.statements[0]!.statement.nonDeterministic.length === 0;
    const frame = this.#frame;
    const gap = isPlain ? timestampGap(frame, flagsOffset, frame.length, this.version) : -1;
    if (gap <= 0) this.readLayout();
    else this.#pin(flagsOffset, gap, frame.length);
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
    return this.requestClass === 'read' ? this.#layout?.timestampMicros : this.ensureLayout().timestampMicros;
  }

  /** It asks for a later page. */
  get isContinued(): boolean {
    return this.#layout?.pagingState !== undefined;
  }

  get wasPinned(): boolean {
    return this.#isPinned;
  }

  get batchKind(): number | undefined {
    return this.opcode === Opcode.BATCH ? this.#frame[this.#offset] : undefined;
  }

  get isCounterBatch(): boolean {
    return this.batchKind === BatchKind.COUNTER;
  }

  /** When the proxy took it, by the clocks of the clusters. Seconds since the epoch. */
  get takenAtSeconds(): number {
    return Math.floor(this.#context.timestamps.clusterMillis(this.#takenMs) / 1000);
  }

  /** Memory that the request holds for as long as it is kept. */
  get byteCount(): number {
    return this.#frame.length;
  }

  /** Called before a write is kept for longer than its client waits: what it was read with does not stay with it. */
  detach(): void {
    this.#isKept = true;
    this.#frame = ownBytes(this.#frame);
    this.#layout = undefined;
    this.#frames = undefined;
  }

  /** Values as the client bound them to one of the statements. */
  valuesOf(index: number): ValueLookup {
    let values: ReturnType<typeof readValues> | undefined;
    return (marker, name) => {
      values ??= readValues(this.#frame, this.ensureLayout().statements[index]!);
      const byName = values[0]?.name === undefined ? undefined : values.find((one) => one.name === name);
      return (byName ?? values[marker])?.value;
    };
  }

  frameFor(cluster: ClusterName): Buffer {
    if (this.#nameFor(cluster)) return this.#frame;
    this.#frames ??= { origin: undefined, target: undefined };
    this.#frames[cluster] ??= this.#isKept ? ownBytes(this.#buildFrame(cluster)) : this.#buildFrame(cluster);
    return this.#frames[cluster];
  }

  /** Forgets a built frame: a cluster calls a statement by another id now. */
  forgetFrames(): void {
    this.#frames = undefined;
    this.bringMetadata();
  }

  /**
   * A client of v3 or v4 that prepared a statement before its table changed can't be told so by an answer without
   * metadata, and would read the values of one column as those of another: such an answer brings its own.
   */
  bringMetadata(): void {
    if (this.version >= 5 || this.opcode !== Opcode.EXECUTE || !this.entries[0]?.isReshaped) return;
    const idStart = this.#offset + 2;
    const at = executeFlagsOffset(this.#frame, idStart + this.#frame.readUInt16BE(this.#offset), this.version);
    this.#frame[at] = this.#frame[at]! & ~QueryFlag.SKIP_METADATA;
  }

  /**
   * The usual case, one prepared statement: one frame for both clusters, in which only the id differs. The id is written
   * just before the frame is sent, which copies frames of this size at once. False: the cluster needs another frame.
   */
  #nameFor(cluster: ClusterName): boolean {
    const entry = this.entries[0];
    const frame = this.#frame;
    if (this.opcode !== Opcode.EXECUTE || entry === undefined || frame.length > MAX_SHARED_BYTES) return false;
    const id = entry.upstreamIds[cluster];
    if (id?.length !== entry.id.length || this.#generated || this.#pageEdit) return false;
    if (this.#context.targetConsistency.size > 0) return false;
    const start = this.#offset + 2;
    for (let index = 0; index < id.length; index++) frame[start + index] = id[index]!;
    return true;
  }

  /**
   * Puts the default timestamp into the frame and, where something may expire, the instant from which TTLs count.
   * @param timestampOffset undefined: it has one
   * @param nowOffset where the other belongs, if the version has it; undefined: it has one
   */
  #pin(flagsOffset: number, timestampOffset: number | undefined, nowOffset: number | undefined): void {
    const { timestamps } = this.#context;
    const isOpen = nowOffset !== undefined && this.mayExpire;
    const pinsNow = isOpen && this.version >= 5;
    this.#countsFromArrival = isOpen && !pinsNow;
    this.#isPinned = timestampOffset !== undefined;
    if (!this.#isPinned && !pinsNow) return;
    const micros = this.#isPinned ? timestamps.next() : 0;
    const nowInSeconds = pinsNow ? timestamps.nowInSeconds() : 0;
    const places = { flagsOffset, timestampOffset, nowOffset: pinsNow ? nowOffset : undefined };
    this.#frame = withTimes(this.#frame, this.version, places, micros, nowInSeconds);
    this.#layout = undefined;
  }

  #buildFrame(cluster: ClusterName): Buffer {
    const ids = this.#foreignIds(cluster);
    const consistency = this.#consistencyFor(cluster);
    const { texts, values } = this.#generated ?? {};
    const isUnchanged =
      ids.size === 0 && consistency === undefined && this.#pageEdit === undefined && this.#generated === undefined;
    if (isUnchanged) return this.#frame;
    const layout = this.ensureLayout();
    const statements = new Map<number, { text?: string; id?: Uint8Array }>(ids);
    for (const [index, text] of texts ?? []) statements.set(index, { text });
    const edits = requestEdits(this.#frame, layout, this.version, {
      statements,
      ...(values ? { values } : {}),
      ...(consistency === undefined ? {} : { consistency }),
    });
    const frame = applyEdits(this.#frame, this.#pageEdit ? [...edits, this.#pageEdit] : edits);
    if (frame !== this.#frame) setBodyLength(frame);
    return frame;
  }

  /** Prepared statements that a cluster knows by another id than the proxy's. */
  #foreignIds(cluster: ClusterName): Map<number, { id: Uint8Array }> {
    const ids = new Map<number, { id: Uint8Array }>();
    for (const [index, { entry }] of this.statements.entries()) {
      const id = entry?.upstreamIds[cluster];
      // The frame of an EXECUTE may hold the id of the other cluster.
      if (id && (this.opcode === Opcode.EXECUTE || !id.equals(entry.id))) ids.set(index, { id });
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
    this.#pageEdit = unmarkedPage(mark, pagingState, pagingStateOffset);
  }
}

function setBodyLength(frame: Buffer): void {
  frame.writeInt32BE(frame.length - HEADER_BYTES, 5);
}
