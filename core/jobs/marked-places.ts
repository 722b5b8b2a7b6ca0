/** Which places of its tables a validation looks at, and how they are cut into items. */

import type { Ledger } from '../ledger/ledger.ts';
import { rangesOf } from '../ledger/mark-places.ts';
import { cutAt, joinRanges } from '../token/range-sets.ts';
import { rangeWidth, splitRing, type TokenRange, tokenRangeToJson } from '../token/token-range.ts';
import type { ValidationItem } from './validation-plan.ts';

/** Of one table; where there are more the nearest are joined, and what is between them is compared, too. */
const MAX_PLACES = 8192;
/** Of one item: each is read with a query of its own, and an item travels through a state of 256 KiB. */
const PLACES_AT_ONCE = 64;

/** The marked places of each table of a keyspace; none where a table is suspect and has no mark any more. */
export async function markedPlaces(
  keyspace: string,
  ledger: Pick<Ledger, 'listSuspects' | 'listTables'>,
): Promise<ReadonlyMap<string, readonly TokenRange[]>> {
  const found = new Map<string, TokenRange[]>();
  for (const record of await ledger.listTables()) {
    if (record.keyspace === keyspace && record.state === 'suspect') found.set(record.table, []);
  }
  for (const mark of await ledger.listSuspects()) {
    if (mark.keyspace !== keyspace) continue;
    const ranges = found.get(mark.table) ?? [];
    found.set(mark.table, ranges);
    for (const range of rangesOf(mark)) ranges.push(range);
  }
  return new Map([...found].map(([table, ranges]) => [table, joinRanges(ranges, MAX_PLACES)]));
}

/** What one item compares. */
interface ComparedPart {
  readonly place: Pick<ValidationItem, 'start' | 'end' | 'places'>;
  /** Tokens in it. */
  readonly width: bigint;
}

/** The ring in `count` equal parts, or only these places of them; ascending. */
export function cutForComparison(count: number, places: readonly TokenRange[] | undefined): ComparedPart[] {
  const grid = splitRing(count);
  if (places === undefined) return grid.map((range) => ({ place: tokenRangeToJson(range), width: rangeWidth(range) }));
  const ends = grid.map(({ end }) => end);
  return cutAt(places, ends).flatMap((part) => {
    const parts: ComparedPart[] = [];
    for (let at = 0; at < part.length; at += PLACES_AT_ONCE) parts.push(partOf(part.slice(at, at + PLACES_AT_ONCE)));
    return parts;
  });
}

function partOf(ranges: readonly TokenRange[]): ComparedPart {
  const hull = tokenRangeToJson({ start: ranges[0]!.start, end: ranges.at(-1)!.end });
  return {
    place: ranges.length === 1 ? hull : { ...hull, places: ranges.map(tokenRangeToJson) },
    width: ranges.reduce((sum, range) => sum + rangeWidth(range), 0n),
  };
}
