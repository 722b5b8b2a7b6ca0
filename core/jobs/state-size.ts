/** What travels in the state of an execution, which AWS bounds as a whole, the input included: 262,144 bytes. */

import { UsageError } from '../errors.ts';

/** Bytes of JSON. With the details of the plan and what the steps add it stays below the bound. */
const MAX_INPUT_BYTES = 128 * 1024;
const MAX_DETAIL_BYTES = 96 * 1024;

/** @throws UsageError with the remedy, before AWS refuses the execution or breaks it off in the middle */
export function checkInputSize(input: object): void {
  const bytes = bytesOf(input);
  if (bytes <= MAX_INPUT_BYTES) return;
  throw new UsageError(
    `the input of the execution has ${bytes} bytes of JSON, and ${MAX_INPUT_BYTES} are the most; name fewer tables, or leave out entries of the list of indexes (a table without a name of an index stands for all of them)`,
  );
}

/** The details with their longest lists cut until they fit; `omitted` says how many entries each has lost. */
export function boundDetails<T extends object>(
  details: T,
): T & { readonly omitted?: Readonly<Record<string, number>> } {
  const bounded = { ...details } as Record<string, unknown>;
  const omitted: Record<string, number> = {};
  while (bytesOf({ ...bounded, omitted }) > MAX_DETAIL_BYTES) {
    const lists = Object.entries(bounded).filter((entry): entry is [string, unknown[]] => Array.isArray(entry[1]));
    const [largest] = lists.sort(([, a], [, b]) => bytesOf(b) - bytesOf(a));
    if (largest === undefined || largest[1].length === 0) break;
    const [name, list] = largest;
    const kept = list.slice(0, Math.floor(list.length / 2));
    bounded[name] = kept;
    omitted[name] = (omitted[name] ?? 0) + list.length - kept.length;
  }
  const isWhole = Object.keys(omitted).length === 0;
  return { ...(bounded as T), ...(isWhole ? {} : { omitted }) };
}

const bytesOf = (value: unknown) => new TextEncoder().encode(JSON.stringify(value)).length;
