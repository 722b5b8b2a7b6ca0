import { EXPIRY_TOLERANCE_SECONDS } from '../checksum/row-digest.ts';
import type { Statement } from './statement.ts';

/** How far apart the clocks of two nodes may be before a proxy calls itself not ready. */
const CLOCK_MARGIN_MS = 500;

/**
 * A copy that is there by then, counted from when the write left for the primary, or from when it was told what is left
 * of its life, ends when the original does, as exactly as comparing tells. A later one may live longer, where its server
 * counts the TTL by itself.
 */
export const LATE_TTL_MS = EXPIRY_TOLERANCE_SECONDS * 1000 - CLOCK_MARGIN_MS;

/** The default TTL of a table; undefined: it is not known. */
export type DefaultTtlOf = (keyspace: string | undefined, table: string) => number | undefined;

/**
 * Whether what a mutation writes may expire, as far as its text and its tables tell. undefined: that depends on a table
 * of which nothing is known. A bound TTL may be any, also none.
 */
export function mayExpire(statement: Statement, defaultTtlOf: DefaultTtlOf): boolean | undefined {
  if (statement.kind === 'batch') {
    const found = statement.children.map((child) => mayExpire(child, defaultTtlOf));
    return found.includes(true) || !statement.isUnderstood ? true : found.includes(undefined) ? undefined : false;
  }
  // What a deletion leaves has no TTL.
  if (statement.kind === 'delete') return false;
  const { usingTtl, table } = statement;
  if (usingTtl !== undefined) return usingTtl.kind !== 'literal' || Number(usingTtl.text) !== 0;
  if (!statement.isUnderstood || table === undefined) return true;
  const seconds = defaultTtlOf(statement.keyspace, table);
  return seconds === undefined ? undefined : seconds > 0;
}
