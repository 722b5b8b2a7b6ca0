import { quoteIdentifier } from '../model/table-schema.ts';
import { TokenKind, tokenize } from './tokenizer.ts';

/** Words behind which a mutation names its table. All are reserved, so none is ever the bare name of something. */
const BEFORE_TABLE = new Set(['into', 'update', 'from']);

/** The mutation, or batch of them, with `keyspace` in front of each table that the text names alone. */
export function qualifyTables(text: string, keyspace: string): string {
  const tokens = tokenize(text);
  let qualified = '';
  let copied = 0;
  for (let at = 1; at < tokens.count; at++) {
    const before = text.slice(tokens.starts[at - 1], tokens.ends[at - 1]).toLowerCase();
    if (tokens.kinds[at - 1] !== TokenKind.Word || !BEFORE_TABLE.has(before)) continue;
    if (text.slice(tokens.starts[at + 1], tokens.ends[at + 1]) === '.') continue;
    qualified += `${text.slice(copied, tokens.starts[at])}${quoteIdentifier(keyspace)}.`;
    copied = tokens.starts[at]!;
  }
  return qualified + text.slice(copied);
}
