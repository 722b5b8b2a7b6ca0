import { gunzipSync } from 'node:zlib';
import { readFileSync } from 'node:fs';

/** A JSON value whose numbers are kept as the text they were written as: 64-bit and decimal values exceed a double. */
export type DumpValue = string | boolean | null | NumberText | DumpValue[] | { [key: string]: DumpValue };

export interface NumberText {
  readonly number: string;
}

/** What our dump does not tell: positions, the kind of table (5.0), and what depends on the day of the dump. */
const LEFT_OUT = new Set(['position', 'table kind', 'expired']);

export function readDump(path: string): DumpValue {
  return parseDump(gunzipSync(readFileSync(path)).toString('utf8'));
}

export function parseDump(text: string): DumpValue {
  const reviver = function (key: string, value: unknown, context?: { source?: string }): unknown {
    if (LEFT_OUT.has(key)) return undefined;
    return typeof value === 'number' ? { number: context?.source ?? String(value) } : value;
  };
  return JSON.parse(text, reviver as (key: string, value: unknown) => unknown) as DumpValue;
}
