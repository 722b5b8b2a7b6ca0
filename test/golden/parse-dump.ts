import { readFileSync } from 'node:fs';
import { gunzipSync } from 'node:zlib';

/** A JSON value whose numbers are kept as the text they were written as: 64-bit and decimal values exceed a double. */
export type DumpValue = string | boolean | null | NumberText | DumpValue[] | { [key: string]: DumpValue };

export interface NumberText {
  readonly number: string;
}

/** What two dumps of equal data need not share: positions, the kind of table (5.0), the day of the dump. */
const LEFT_OUT: ReadonlySet<string> = new Set(['position', 'table kind', 'expired']);

/** Cassandra's dump of a fixture, every field of it. */
export function readDump(path: string): DumpValue {
  return parseWholeDump(gunzipSync(readFileSync(path)).toString('utf8'));
}

/** Every field of a dump. */
export function parseWholeDump(text: string): DumpValue {
  return parse(text, new Set());
}

/** The data that a dump shows. */
export function parseDump(text: string): DumpValue {
  return parse(text, LEFT_OUT);
}

function parse(text: string, leftOut: ReadonlySet<string>): DumpValue {
  const reviver = (key: string, value: unknown, context?: { source?: string }): unknown => {
    if (leftOut.has(key)) return undefined;
    return typeof value === 'number' ? { number: context?.source ?? String(value) } : value;
  };
  return JSON.parse(text, reviver as (key: string, value: unknown) => unknown) as DumpValue;
}
