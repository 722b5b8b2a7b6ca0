/** Which marks the cases of the interleaving bed may leave: each code for what its rule says, and nothing else. */
import type { ReasonCode } from '#core/ledger/reasons.ts';
import type { SuspectRecord } from '#core/ledger/records.ts';
import { tokenOf } from '#core/token/token.ts';
import type { InterleavedTable } from './interleaving-cases.ts';
import { type ShapeName, tellsLifetime } from './interleaving-operations.ts';

type Kinds = (shape: ShapeName, kind: string) => boolean;

const isConditional: Kinds = (_, kind) => kind.startsWith('lwt');

/** Of the partitions that a code marks, each must have seen such an operation. */
const PARTITION_CODES: Partial<Record<ReasonCode, Kinds>> = {
  'conditional-missing': isConditional,
  'late-ttl': (shape, kind) => tellsLifetime(shape, kind) || isConditional(shape, kind) || kind === 'list',
  counter: (shape) => shape === 'counters',
};
/** What a write without a clear outcome leaves, and no other one. */
const CODES_OF_UNKNOWN: ReadonlySet<ReasonCode> = new Set(['unknown-outcome', 'conditional-missing']);
/** Codes that loads leave of a whole range, by the shape of its table. */
const TABLE_CODES: Partial<Record<ReasonCode, ShapeName>> = { 'list-expiry': 'plain', counter: 'counters' };

type MarkedTable = InterleavedTable & { readonly keyspace: string; readonly name: string };

/**
 * One text for each mark that no rule explains. @param tables with the names that marks have for them
 * @param unknown cases of which the origin left a write unanswered, which may be marked for that
 */
export function unexplainedMarks(
  tables: readonly MarkedTable[],
  marks: readonly SuspectRecord[],
  unknown: ReadonlySet<string>,
): string[] {
  return marks.flatMap((mark) => {
    const table = tables.find(({ keyspace, name }) => keyspace === mark.keyspace && name === mark.table);
    const { code = 'other', tokens = [], reason } = mark;
    const text = `${mark.table} is marked ${code}: ${reason}`;
    if (table === undefined) return [text];
    if (TABLE_CODES[code] === table.shape) return [];
    if (tokens.length === 0) return [text];
    const explains = PARTITION_CODES[code] ?? (() => false);
    const caseOf = new Map(table.cases.map((each) => [tokenOfCase(each.pk), each]));
    return tokens
      .map((token) => caseOf.get(token))
      .filter((found) => found === undefined || !unknown.has(found.pk) || !CODES_OF_UNKNOWN.has(code))
      .filter((found) => !found?.operations.some((kind) => explains(table.shape, kind)))
      .map((found) => `${text} (${found?.pk ?? 'no case is there'})`);
  });
}

/** Those of the cases whose partitions are marked by themselves. */
export function markedOf(cases: ReadonlySet<string>, marks: readonly SuspectRecord[]): ReadonlySet<string> {
  const tokens = new Set(marks.flatMap((mark) => mark.tokens ?? []));
  return new Set([...cases].filter((pk) => tokens.has(tokenOfCase(pk))));
}

function tokenOfCase(pk: string): string {
  return String(tokenOf(Buffer.from(pk)));
}
