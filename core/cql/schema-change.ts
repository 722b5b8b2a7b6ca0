import { ProtocolError } from '#core/errors.ts';
import { BodyReader } from './body-reader.ts';
import { BodyWriter } from './body-writer.ts';
import { encodeInet } from './value-codec.ts';

/** What a DDL statement changed; the same in a RESULT (section 4.2.5.5) and in an EVENT (section 4.2.6). */
export interface SchemaChange {
  readonly change: 'CREATED' | 'UPDATED' | 'DROPPED';
  readonly target: 'KEYSPACE' | 'TABLE' | 'TYPE' | 'FUNCTION' | 'AGGREGATE';
  readonly keyspace: string;
  /** Of the table, type, function or aggregate. */
  readonly name?: string;
  readonly argumentTypes?: readonly string[];
}

/** <change_type [string]><target [string]><keyspace [string]>[<name [string]>][<arg_types [string list]>] */
export function decodeSchemaChange(reader: BodyReader): SchemaChange {
  const change = oneOf(reader.string(), ['CREATED', 'UPDATED', 'DROPPED'] as const);
  const target = oneOf(reader.string(), ['KEYSPACE', 'TABLE', 'TYPE', 'FUNCTION', 'AGGREGATE'] as const);
  const keyspace = reader.string();
  if (target === 'KEYSPACE') return { change, target, keyspace };
  const name = reader.string();
  if (target === 'TABLE' || target === 'TYPE') return { change, target, keyspace, name };
  return { change, target, keyspace, name, argumentTypes: reader.stringList() };
}

export function writeSchemaChange(writer: BodyWriter, change: SchemaChange): void {
  writer.string(change.change).string(change.target).string(change.keyspace);
  if (change.target === 'KEYSPACE') return;
  writer.string(change.name ?? '');
  if (change.target === 'FUNCTION' || change.target === 'AGGREGATE') writer.stringList(change.argumentTypes ?? []);
}

export type EventMessage =
  | { readonly type: 'SCHEMA_CHANGE'; readonly change: SchemaChange }
  | {
      readonly type: 'TOPOLOGY_CHANGE' | 'STATUS_CHANGE';
      /** NEW_NODE, REMOVED_NODE, MOVED_NODE; UP, DOWN. */
      readonly change: string;
      readonly address: string;
      readonly port: number;
    };

/** EVENT: <type [string]> and its own fields. @throws ProtocolError */
export function decodeEvent(body: Buffer, offset = 0): EventMessage {
  const reader = new BodyReader(body, offset);
  const type = oneOf(reader.string(), ['SCHEMA_CHANGE', 'TOPOLOGY_CHANGE', 'STATUS_CHANGE'] as const);
  if (type === 'SCHEMA_CHANGE') return { type, change: decodeSchemaChange(reader) };
  const change = reader.string();
  return { type, change, ...reader.inet() };
}

/** v3 knows neither functions nor aggregates: there, as Cassandra does, the keyspace is what changed. */
export function encodeSchemaChangeEvent(change: SchemaChange, version: number): Buffer {
  const writer = new BodyWriter().string('SCHEMA_CHANGE');
  const isFunction = change.target === 'FUNCTION' || change.target === 'AGGREGATE';
  const { keyspace } = change;
  writeSchemaChange(writer, isFunction && version < 4 ? { change: 'UPDATED', target: 'KEYSPACE', keyspace } : change);
  return writer.toBuffer();
}

/** TOPOLOGY_CHANGE and STATUS_CHANGE: <change [string]><node [inet]> */
export function encodeHostEvent(
  type: 'TOPOLOGY_CHANGE' | 'STATUS_CHANGE',
  change: string,
  { address, port }: { readonly address: string; readonly port: number },
): Buffer {
  return new BodyWriter().string(type).string(change).inet(encodeInet(address), port).toBuffer();
}

function oneOf<T extends string>(text: string, allowed: readonly T[]): T {
  const found = allowed.find((one) => one === text);
  if (found === undefined) throw new ProtocolError(`'${text}' is none of ${allowed.join(', ')}`);
  return found;
}
