import { ProtocolError } from '#core/errors.ts';
import type { ResultColumn } from '#core/model/cql-request.ts';
import { BodyReader } from './body-reader.ts';
import { BodyWriter } from './body-writer.ts';
import { FrameFlag, ResultKind } from './protocol.ts';
import { decodeSchemaChange, type SchemaChange, writeSchemaChange } from './schema-change.ts';
import { readType, writeType } from './type-codec.ts';

/** Flags of result metadata (section 4.2.5.2). */
const MetadataFlag = {
  GLOBAL_TABLE_SPEC: 0x01,
  HAS_MORE_PAGES: 0x02,
  NO_METADATA: 0x04,
  METADATA_CHANGED: 0x08,
} as const;

export interface RowsMetadata {
  readonly columnCount: number;
  /** undefined: the client asked for none and knows them from PREPARED. */
  readonly columns?: readonly ResultColumn[];
  readonly pagingState?: Buffer;
  /** v5: the columns are not those the client knows; its new id. */
  readonly newMetadataId?: Buffer;
}

export type ResultMessage =
  | { readonly kind: 'void' }
  | { readonly kind: 'rows'; readonly metadata: RowsMetadata; readonly rows: readonly (readonly (Buffer | null)[])[] }
  | { readonly kind: 'setKeyspace'; readonly keyspace: string }
  | { readonly kind: 'prepared'; readonly prepared: PreparedMessage }
  | { readonly kind: 'schemaChange'; readonly change: SchemaChange };

export interface PreparedMessage {
  readonly id: Buffer;
  /** v5. */
  readonly resultMetadataId?: Buffer;
  /** One for each bind marker. */
  readonly markers: readonly ResultColumn[];
  /** Which markers are the partition key, in its order; empty when not all of it is bound. v4 and later. */
  readonly partitionKeyIndexes: readonly number[];
  readonly result: RowsMetadata;
}

/** Where the message begins in a response body: behind tracing id, warnings and custom payload (section 2.2). */
export function responseOffset(frameFlags: number, body: Buffer): number {
  return readEnvelope(frameFlags, body).offset;
}

/** Warnings of a response and where its message begins. */
export function readEnvelope(frameFlags: number, body: Buffer): { offset: number; warnings: readonly string[] } {
  const reader = new BodyReader(body);
  if ((frameFlags & FrameFlag.TRACING) !== 0) reader.skip(16);
  const warnings = (frameFlags & FrameFlag.WARNING) !== 0 ? reader.stringList() : [];
  if ((frameFlags & FrameFlag.CUSTOM_PAYLOAD) !== 0) reader.bytesMap();
  return { offset: reader.offset, warnings };
}

/** RESULT (section 4.2.5). @throws ProtocolError */
export function decodeResult(body: Buffer, version: number, offset = 0): ResultMessage {
  const reader = new BodyReader(body, offset);
  const kind = reader.int();
  switch (kind) {
    case ResultKind.VOID:
      return { kind: 'void' };
    case ResultKind.ROWS: {
      const metadata = readRowsMetadata(reader, version);
      return { kind: 'rows', metadata, rows: readRows(reader, metadata.columnCount) };
    }
    case ResultKind.SET_KEYSPACE:
      return { kind: 'setKeyspace', keyspace: reader.string() };
    case ResultKind.PREPARED:
      return { kind: 'prepared', prepared: readPrepared(reader, version) };
    case ResultKind.SCHEMA_CHANGE:
      return { kind: 'schemaChange', change: decodeSchemaChange(reader) };
    default:
      throw new ProtocolError(`a result has the unknown kind ${kind}`);
  }
}

function readRows(reader: BodyReader, columnCount: number): (Buffer | null)[][] {
  const count = reader.int();
  // Each value takes at least its length field.
  if (count < 0 || count * columnCount * 4 > reader.remaining) {
    throw new ProtocolError(`a result announces ${count} rows of ${columnCount} columns`);
  }
  const rows: (Buffer | null)[][] = [];
  for (let index = 0; index < count; index++) {
    const row: (Buffer | null)[] = [];
    for (let column = 0; column < columnCount; column++) row.push(reader.bytes());
    rows.push(row);
  }
  return rows;
}

/** <flags [int]><columns_count [int]>[<paging_state>][<new_metadata_id>][<global_table_spec>?<col_spec>…] */
function readRowsMetadata(reader: BodyReader, version: number): RowsMetadata {
  const flags = reader.int();
  const columnCount = readCount(reader);
  const pagingState = (flags & MetadataFlag.HAS_MORE_PAGES) !== 0 ? reader.bytes() : null;
  const newMetadataId = version >= 5 && (flags & MetadataFlag.METADATA_CHANGED) !== 0 ? reader.shortBytes() : undefined;
  return {
    columnCount,
    ...(pagingState ? { pagingState } : {}),
    ...(newMetadataId ? { newMetadataId } : {}),
    ...((flags & MetadataFlag.NO_METADATA) === 0 ? { columns: readColumns(reader, flags, columnCount) } : {}),
  };
}

function readCount(reader: BodyReader): number {
  const count = reader.int();
  if (count < 0 || count > 0xffff) throw new ProtocolError(`a result announces ${count} columns`);
  return count;
}

function readColumns(reader: BodyReader, flags: number, count: number): ResultColumn[] {
  const isGlobal = (flags & MetadataFlag.GLOBAL_TABLE_SPEC) !== 0;
  let keyspace = isGlobal ? reader.string() : '';
  let table = isGlobal ? reader.string() : '';
  const columns: ResultColumn[] = [];
  for (let index = 0; index < count; index++) {
    if (!isGlobal) {
      keyspace = reader.string();
      table = reader.string();
    }
    columns.push({ keyspace, table, name: reader.string(), type: readType(reader) });
  }
  return columns;
}

/**
 * <id [short bytes]>[<result_metadata_id [short bytes]>, v5]
 * <flags [int]><columns_count [int]>[<pk_count [int]><pk_index [short]>…, v4][<global_table_spec>?<col_spec>…]
 * <result_metadata>
 */
function readPrepared(reader: BodyReader, version: number): PreparedMessage {
  const id = reader.shortBytes();
  const resultMetadataId = version >= 5 ? reader.shortBytes() : undefined;
  const flags = reader.int();
  const markerCount = readCount(reader);
  const partitionKeyIndexes: number[] = [];
  if (version >= 4) for (let count = readCount(reader); count > 0; count--) partitionKeyIndexes.push(reader.short());
  const markers = readColumns(reader, flags, markerCount);
  return {
    id,
    ...(resultMetadataId ? { resultMetadataId } : {}),
    markers,
    partitionKeyIndexes,
    result: readRowsMetadata(reader, version),
  };
}

export function encodeVoid(): Buffer {
  return new BodyWriter(4).int(ResultKind.VOID).toBuffer();
}

export function encodeSetKeyspace(keyspace: string): Buffer {
  return new BodyWriter().int(ResultKind.SET_KEYSPACE).string(keyspace).toBuffer();
}

export function encodeSchemaChangeResult(change: SchemaChange): Buffer {
  const writer = new BodyWriter().int(ResultKind.SCHEMA_CHANGE);
  writeSchemaChange(writer, change);
  return writer.toBuffer();
}

/** A Rows result with all its metadata, unless `metadata.columns` is left out. */
export function encodeRows(metadata: RowsMetadata, rows: readonly (readonly (Uint8Array | null)[])[]): Buffer {
  const writer = new BodyWriter(1024).int(ResultKind.ROWS);
  writeRowsMetadata(writer, metadata);
  writer.int(rows.length);
  for (const row of rows) for (const value of row) writer.bytes(value);
  return writer.toBuffer();
}

/** A Prepared result. In v5 `resultMetadataId` is written, empty when there is none. */
export function encodePrepared(prepared: PreparedMessage, version: number): Buffer {
  const writer = new BodyWriter(512).int(ResultKind.PREPARED).shortBytes(prepared.id);
  if (version >= 5) writer.shortBytes(prepared.resultMetadataId ?? Buffer.alloc(0));
  const isGlobal = hasOneTable(prepared.markers);
  writer.int(isGlobal ? MetadataFlag.GLOBAL_TABLE_SPEC : 0).int(prepared.markers.length);
  if (version >= 4) {
    writer.int(prepared.partitionKeyIndexes.length);
    for (const index of prepared.partitionKeyIndexes) writer.short(index);
  }
  writeColumns(writer, prepared.markers, isGlobal);
  writeRowsMetadata(writer, prepared.result);
  return writer.toBuffer();
}

function writeRowsMetadata(writer: BodyWriter, metadata: RowsMetadata): void {
  const { columns, pagingState, newMetadataId } = metadata;
  const isGlobal = columns !== undefined && hasOneTable(columns);
  let flags = columns === undefined ? MetadataFlag.NO_METADATA : 0;
  if (isGlobal) flags |= MetadataFlag.GLOBAL_TABLE_SPEC;
  if (pagingState) flags |= MetadataFlag.HAS_MORE_PAGES;
  if (newMetadataId) flags |= MetadataFlag.METADATA_CHANGED;
  writer.int(flags).int(metadata.columnCount);
  if (pagingState) writer.bytes(pagingState);
  if (newMetadataId) writer.shortBytes(newMetadataId);
  if (columns) writeColumns(writer, columns, isGlobal);
}

function hasOneTable(columns: readonly ResultColumn[]): boolean {
  const first = columns[0];
  return (
    first !== undefined && columns.every((column) => column.keyspace === first.keyspace && column.table === first.table)
  );
}

function writeColumns(writer: BodyWriter, columns: readonly ResultColumn[], isGlobal: boolean): void {
  if (isGlobal) writer.string(columns[0]!.keyspace).string(columns[0]!.table);
  for (const column of columns) {
    if (!isGlobal) writer.string(column.keyspace).string(column.table);
    writer.string(column.name);
    writeType(writer, column.type);
  }
}
