import { encodeBigint, encodeInet, encodeText, encodeUuid } from '../cql/value-codec.ts';
import { literalValue } from './statement.ts';

const INTEGER_BYTES: ReadonlyMap<string, number> = new Map([
  ['tinyint', 1],
  ['smallint', 2],
  ['int', 4],
  ['bigint', 8],
]);
const INTEGER = /^-?\d{1,40}$/;

/**
 * The bytes of a literal in the text of a statement, as a key column of that type stores it; undefined where the form is
 * not one of the few that are read here, or the server would refuse it.
 * @param type as `system_schema` writes it
 */
export function keyLiteralBytes(text: string, type: string): Uint8Array | undefined {
  const width = INTEGER_BYTES.get(type);
  if (width !== undefined) return INTEGER.test(text) ? integerBytes(BigInt(text), width) : undefined;
  const isQuoted = text.startsWith("'") || text.startsWith('$$');
  switch (type) {
    case 'text':
    case 'varchar':
    case 'ascii':
      return isQuoted ? encodeText(literalValue(text)) : undefined;
    case 'uuid':
    case 'timeuuid':
      return /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i.test(text) ? encodeUuid(text) : undefined;
    case 'timestamp':
      return INTEGER.test(text) ? integerBytes(BigInt(text), 8) : undefined;
    case 'blob':
      return /^0x([0-9a-f]{2})*$/i.test(text) ? Buffer.from(text.slice(2), 'hex') : undefined;
    case 'boolean':
      return /^(true|false)$/i.test(text) ? Uint8Array.of(text.length === 4 ? 1 : 0) : undefined;
    case 'varint':
      return INTEGER.test(text) ? shortest(BigInt(text)) : undefined;
    case 'inet':
      return isQuoted && /^'\d{1,3}(\.\d{1,3}){3}'$/.test(text) ? addressBytes(literalValue(text)) : undefined;
    default:
      return undefined;
  }
}

function integerBytes(value: bigint, width: number): Uint8Array | undefined {
  if (BigInt.asIntN(width * 8, value) !== value) return undefined;
  return encodeBigint(value).subarray(8 - width);
}

/** A varint: two's complement, big-endian, no byte more than it takes. */
function shortest(value: bigint): Uint8Array {
  let width = 1;
  while (BigInt.asIntN(width * 8, value) !== value) width++;
  const bytes = new Uint8Array(width);
  for (let at = width - 1, rest = value; at >= 0; at--, rest >>= 8n) bytes[at] = Number(rest & 0xffn);
  return bytes;
}

function addressBytes(text: string): Uint8Array | undefined {
  return text.split('.').every((part) => Number(part) <= 255) ? encodeInet(text) : undefined;
}
