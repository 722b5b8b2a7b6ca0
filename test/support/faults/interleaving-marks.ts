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
/** Codes that loads leave of a whole range, by the shape of its table. */
const TABLE_CODES: Partial<Record<ReasonCode, ShapeName>> = { 'list-expiry': 'plain', counter: 'counters' };

/** One text for each mark that no rule explains. @param tables with the names that marks have for them */
export function unexplainedMarks(
  tables: readonly (InterleavedTable & { readonly keyspace: string; readonly name: string })[],
  marks: readonly SuspectRecord[],
): string[] {
  return marks.flatMap((mark) => {
    const table = tables.find(({ keyspace, name }) => keyspace === mark.keyspace && name === mark.table);
    if (table === undefined) return [];
    const { code = 'other', tokens = [], reason } = mark;
    const text = `${mark.table} is marked ${code}: ${reason}`;
    if (TABLE_CODES[code] === table.shape) return [];
    const explains = PARTITION_CODES[code];
    if (explains === undefined || tokens.length === 0) return [text];
    const caseOf = new Map(table.cases.map((each) => [String(tokenOf(Buffer.from(each.pk))), each]));
    return tokens
      .map((token) => caseOf.get(token))
      .filter((found) => !found?.operations.some((kind) => explains(table.shape, kind)))
      .map((found) => `${text} (${found?.pk ?? 'no case is there'})`);
  });
}
