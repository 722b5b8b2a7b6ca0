import { BodyReader } from './body-reader.ts';
import { BodyWriter } from './body-writer.ts';
import { applyEdits, type Edit } from './request-edit.ts';
import type { PreparedMessage } from './result-message.ts';
import { readType } from './type-codec.ts';

/**
 * The PREPARED answer as a client must see it when markers were put into its text: without their columns, and with the
 * partition-key indexes of what is left. A key that contains a hidden marker is no longer bound by the client, so it
 * gets no indexes, just as if the text had a literal there.
 * @param positions of the hidden markers, ascending
 */
export function hideMarkers(prepared: PreparedMessage, positions: readonly number[]): PreparedMessage {
  const hidden = new Set(positions);
  return {
    ...prepared,
    markers: prepared.markers.filter((_, index) => !hidden.has(index)),
    partitionKeyIndexes: visibleKey(prepared.partitionKeyIndexes, positions),
  };
}

function visibleKey(indexes: readonly number[], positions: readonly number[]): number[] {
  const hidden = new Set(positions);
  if (indexes.some((index) => hidden.has(index))) return [];
  return indexes.map((index) => index - positions.filter((position) => position < index).length);
}

export interface PreparedChanges {
  /** The id that the client is to use. */
  readonly id?: Uint8Array;
  /** Positions of markers to hide, ascending. */
  readonly hidden?: readonly number[];
}

/**
 * Changes a RESULT of kind Prepared by splicing: what is not changed stays byte for byte, custom types included.
 * @param offset where the message begins, see `responseOffset`
 * @throws ProtocolError
 */
export function rewritePrepared(body: Buffer, version: number, changes: PreparedChanges, offset = 0): Buffer {
  const { id, hidden = [] } = changes;
  const edits: Edit[] = [];
  // The kind of the result comes first.
  const reader = new BodyReader(body, offset + 4);
  const idStart = reader.offset;
  reader.shortBytes();
  if (id) edits.push({ start: idStart, end: reader.offset, bytes: new BodyWriter(34).shortBytes(id).toBuffer() });
  if (hidden.length > 0) {
    if (version >= 5) reader.shortBytes();
    edits.push(...hidingEdits(reader, version, hidden));
  }
  return applyEdits(body, edits);
}

/** The reader stands at <flags [int]><columns_count [int]>[<pk_count [int]><pk_index [short]>…][<spec>] */
function hidingEdits(reader: BodyReader, version: number, hidden: readonly number[]): Edit[] {
  const isGlobal = (reader.int() & 0x01) !== 0;
  const countStart = reader.offset;
  const count = reader.int();
  if (version >= 4) {
    const indexes: number[] = [];
    for (let left = reader.int(); left > 0; left--) indexes.push(reader.short());
    const kept = visibleKey(indexes, hidden);
    const writer = new BodyWriter().int(count - hidden.length).int(kept.length);
    for (const index of kept) writer.short(index);
    const edits: Edit[] = [{ start: countStart, end: reader.offset, bytes: writer.toBuffer() }];
    return [...edits, ...columnEdits(reader, isGlobal, count, hidden)];
  }
  const bytes = new BodyWriter(4).int(count - hidden.length).toBuffer();
  return [{ start: countStart, end: reader.offset, bytes }, ...columnEdits(reader, isGlobal, count, hidden)];
}

function columnEdits(reader: BodyReader, isGlobal: boolean, count: number, hidden: readonly number[]): Edit[] {
  if (isGlobal) skipStrings(reader, 2);
  const isHidden = new Set(hidden);
  const edits: Edit[] = [];
  for (let index = 0; index < count; index++) {
    const start = reader.offset;
    skipStrings(reader, isGlobal ? 1 : 3);
    readType(reader);
    if (isHidden.has(index)) edits.push({ start, end: reader.offset, bytes: Buffer.alloc(0) });
  }
  return edits;
}

function skipStrings(reader: BodyReader, count: number): void {
  for (let left = count; left > 0; left--) reader.skip(reader.short());
}
