import { encodeBuckets } from '#core/ledger/mark-places.ts';
import type { SuspectRecord } from '#core/ledger/records.ts';
import type { PlaceImage, SlotIdentity } from './mark-slots.ts';
import type { SlotNumber } from './reserved-marks.ts';

/** What may differ in one table for one reason, for as long as it is told to the ledger as one record. */
export class MarkedPlace {
  readonly identity: SlotIdentity;
  /** undefined: the whole table. */
  image: PlaceImage | undefined;
  /** undefined: the disk has refused it. */
  slot: SlotNumber | undefined;
  /** For people; of the last mark. */
  reason: string;
  /** The last mark. Milliseconds since the epoch. */
  lastMs: number;
  /** Since when the ledger lacks something of it, in milliseconds since the epoch; undefined: it has all. */
  waitingSinceMs: number | undefined;
  /** Counts marks, so that one that comes while the record is on its way is seen. */
  version = 0;
  /** By `performance.now()`. */
  readonly openedMs = performance.now();
  /** So long it takes marks; later ones open another. Milliseconds. */
  readonly windowMs: number;
  sentMs = Number.NEGATIVE_INFINITY;
  /** Of a keyspace that stands for tables that had no room: those that are known. */
  readonly tables = new Set<string>();

  constructor(identity: SlotIdentity, image: PlaceImage | undefined, windowMs: number) {
    this.identity = identity;
    this.image = image;
    this.reason = identity.reason;
    this.lastMs = identity.fromMs;
    this.windowMs = windowMs;
  }

  get isOver(): boolean {
    return performance.now() - this.openedMs >= this.windowMs;
  }

  note(reason: string, nowMs: number): void {
    this.reason = reason;
    this.lastMs = nowMs;
    this.version++;
    this.waitingSinceMs ??= nowMs;
  }

  /** Its name in the ledger: the same for as long as it takes marks, also after a restart. */
  idOf(instance: string): string {
    const { code, lacking, fromMs } = this.identity;
    return `${instance}-${code}-${lacking ?? 'either'}-${fromMs.toString(36)}`;
  }

  recordBy(instance: string): SuspectRecord {
    const { keyspace, table, lacking, code, fromMs } = this.identity;
    const tokens = this.image?.tokens ?? [];
    const buckets = this.image?.buckets;
    return {
      version: 1,
      keyspace,
      table,
      range: null,
      ...(tokens.length > 0 ? { tokens: tokens.map(String) } : {}),
      ...(buckets ? { buckets: encodeBuckets(buckets) } : {}),
      reason: this.reason,
      code,
      lacking,
      by: instance,
      from: new Date(fromMs).toISOString(),
      at: new Date(this.lastMs).toISOString(),
    };
  }
}
