import { ProtocolError } from '#core/errors.ts';
import type { BoundValue, Consistency } from '#core/model/cql-request.ts';
import { BodyWriter } from './body-writer.ts';
import { QueryFlag } from './protocol.ts';
import { type RequestLayout, readRequestLayout, type StatementLayout } from './request-layout.ts';

/** Replaces the bytes [start, end) of a body. Several at the same place are written in the order given. */
export interface Edit {
  readonly start: number;
  readonly end: number;
  readonly bytes: Uint8Array;
}

/** A new body with the edits made, by one allocation; the same body when there are none. */
export function applyEdits(body: Buffer, edits: readonly Edit[]): Buffer {
  if (edits.length === 0) return body;
  const ordered = [...edits].sort((left, right) => left.start - right.start);
  let length = body.length;
  for (const edit of ordered) length += edit.bytes.length - (edit.end - edit.start);
  const result = Buffer.allocUnsafe(length);
  let from = 0;
  let to = 0;
  for (const edit of ordered) {
    if (edit.start < from) throw new RangeError('edits of a body overlap');
    to += body.copy(result, to, from, edit.start);
    result.set(edit.bytes, to);
    to += edit.bytes.length;
    from = edit.end;
  }
  body.copy(result, to, from);
  return result;
}

/** Changes of a request; all that are given are made in one copy. */
export interface RequestChanges {
  /** Set when the client has set none. Microseconds. */
  readonly timestampMicros?: bigint;
  readonly consistency?: Consistency;
  /** By index of the statement: another text or id. */
  readonly statements?: ReadonlyMap<number, { readonly text?: string; readonly id?: Uint8Array }>;
  /** v5 EXECUTE. */
  readonly resultMetadataId?: Uint8Array;
  /** By index of the statement: values to add. */
  readonly values?: ReadonlyMap<number, readonly ValueInsertion[]>;
}

/** A value for a marker that the client does not know of. */
export interface ValueInsertion {
  /** The index that the value has afterwards, among all; ascending in a list of insertions. */
  readonly position: number;
  /** Needed where the client names its values. */
  readonly name?: string;
  readonly value: BoundValue;
}

/**
 * The edits that make these changes to a request.
 * @throws ProtocolError when values can't be added because their names are missing
 */
export function requestEdits(body: Buffer, layout: RequestLayout, version: number, changes: RequestChanges): Edit[] {
  const edits: Edit[] = [];
  let flags = layout.flags;
  for (const [index, statement] of layout.statements.entries()) {
    const head = changes.statements?.get(index);
    if (head) edits.push(headEdit(statement, head));
    if (changes.resultMetadataId && statement.resultMetadataId) {
      edits.push({
        start: statement.end,
        end: statement.end + 2 + statement.resultMetadataId.length,
        bytes: new BodyWriter(2 + changes.resultMetadataId.length).shortBytes(changes.resultMetadataId).toBuffer(),
      });
    }
    const insertions = changes.values?.get(index);
    if (insertions && insertions.length > 0) {
      edits.push(...valueEdits(body, statement, insertions));
      if (statement.valueCount === undefined) flags |= QueryFlag.VALUES;
    }
  }
  if (changes.consistency !== undefined && changes.consistency !== layout.consistency) {
    edits.push({
      start: layout.consistencyOffset,
      end: layout.consistencyOffset + 2,
      bytes: new BodyWriter(2).short(changes.consistency).toBuffer(),
    });
  }
  if (changes.timestampMicros !== undefined && layout.timestampMicros === undefined) {
    flags |= QueryFlag.DEFAULT_TIMESTAMP;
    edits.push({
      start: layout.timestampOffset,
      end: layout.timestampOffset,
      bytes: new BodyWriter(8).long(changes.timestampMicros).toBuffer(),
    });
  }
  if (flags !== layout.flags) edits.push(flagsEdit(layout, version, flags));
  return edits;
}

function flagsEdit(layout: RequestLayout, version: number, flags: number): Edit {
  const writer = new BodyWriter(4);
  if (version >= 5) writer.int(flags);
  else writer.byte(flags);
  return { start: layout.flagsOffset, end: layout.flagsOffset + writer.length, bytes: writer.toBuffer() };
}

function headEdit(statement: StatementLayout, head: { readonly text?: string; readonly id?: Uint8Array }): Edit {
  const isText = statement.text !== undefined;
  if (isText ? head.text === undefined : head.id === undefined) {
    throw new ProtocolError('a text is replaced by a text and an id by an id');
  }
  const writer = new BodyWriter();
  if (head.text !== undefined && isText) writer.longString(head.text);
  else writer.shortBytes(head.id!);
  return { start: statement.start, end: statement.end, bytes: writer.toBuffer() };
}

function valueEdits(body: Buffer, statement: StatementLayout, insertions: readonly ValueInsertion[]): Edit[] {
  const countOld = statement.valueCount ?? 0;
  const countEdit: Edit = {
    start: statement.valuesOffset,
    end: statement.valuesOffset + (statement.valueCount === undefined ? 0 : 2),
    bytes: new BodyWriter(2).short(countOld + insertions.length).toBuffer(),
  };
  if (statement.hasNames) {
    const writer = new BodyWriter();
    for (const insertion of insertions) {
      if (insertion.name === undefined)
        throw new ProtocolError('the request names its values; the added one has no name');
      writer.string(insertion.name).value(insertion.value);
    }
    return [countEdit, { start: statement.valuesEnd, end: statement.valuesEnd, bytes: writer.toBuffer() }];
  }
  const starts = valueStarts(body, statement);
  const edits: Edit[] = [countEdit];
  for (const [added, insertion] of insertions.entries()) {
    // Of the values in front of this one, `added` are new themselves. Too few values are the server's to refuse.
    const at = starts[Math.min(insertion.position - added, countOld)]!;
    edits.push({ start: at, end: at, bytes: new BodyWriter(32).value(insertion.value).toBuffer() });
  }
  return edits;
}

/** Where each value starts, and where the last one ends. */
function valueStarts(body: Buffer, statement: StatementLayout): number[] {
  if (statement.valueCount === undefined) return [statement.valuesOffset];
  const starts: number[] = [];
  let offset = statement.valuesOffset + 2;
  for (let index = 0; index < statement.valueCount; index++) {
    starts.push(offset);
    offset += 4 + Math.max(body.readInt32BE(offset), 0);
  }
  starts.push(offset);
  return starts;
}

/** What became of a request's timestamp. */
export interface PinnedRequest {
  readonly body: Buffer;
  /** The timestamp in force: the client's own, or the one given. */
  readonly timestampMicros: bigint;
  /** False when the client had set one, which is then kept and the body is the same. */
  readonly wasPinned: boolean;
}

/**
 * Gives a QUERY, EXECUTE or BATCH its default timestamp (flag 0x20) unless the client has set one.
 * @throws ProtocolError when the body is broken
 */
export function pinTimestamp(
  opcode: number,
  body: Buffer,
  version: number,
  timestampMicros: bigint,
  offset = 0,
): PinnedRequest {
  const layout = readRequestLayout(opcode, body, version, offset);
  if (layout.timestampMicros !== undefined) {
    return { body, timestampMicros: layout.timestampMicros, wasPinned: false };
  }
  const edits = requestEdits(body, layout, version, { timestampMicros });
  return { body: applyEdits(body, edits), timestampMicros, wasPinned: true };
}
