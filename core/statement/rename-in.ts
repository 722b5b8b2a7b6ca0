/** Carries a CREATE statement of one keyspace over to the names that its tables have on the target. */

import type { Renames } from '../model/rename.ts';
import { quoteIdentifier } from '../model/table-schema.ts';
import { TokenKind, tokenize } from './tokenizer.ts';

/** What is created; names after it are types and functions of the keyspace, not tables. */
type Kind = 'keyspace' | 'type' | 'table' | 'index' | 'function' | 'aggregate' | 'materialized_view';

/**
 * Replaces each `keyspace.name` in the text, and the name of a keyspace that is created. Whatever stands in strings,
 * the bodies of functions included, stays as it is.
 */
export function renameIn(text: string, keyspace: string, kind: Kind, renames: Renames): string {
  const tokens = tokenize(text);
  const nameAt = (index: number): string | undefined => {
    if (index >= tokens.count) return undefined;
    const word = text.slice(tokens.starts[index], tokens.ends[index]);
    if (tokens.kinds[index] === TokenKind.Word) return word.toLowerCase();
    return tokens.kinds[index] === TokenKind.QuotedName ? word.slice(1, -1).replaceAll('""', '"') : undefined;
  };
  const namesTables = kind === 'table' || kind === 'index' || kind === 'materialized_view';
  let renamed = '';
  let from = 0;
  const replace = (first: number, last: number, by: string) => {
    renamed += text.slice(from, tokens.starts[first]) + by;
    from = tokens.ends[last]!;
  };
  for (let index = 0; index < tokens.count; index++) {
    if (nameAt(index) !== keyspace) continue;
    const isQualifier = text.slice(tokens.starts[index + 1], tokens.ends[index + 1]) === '.';
    const name = isQualifier ? nameAt(index + 2) : undefined;
    if (name !== undefined) {
      const at = namesTables
        ? renames.toTarget({ keyspace, table: name })
        : { keyspace: renames.keyspaceOnTarget(keyspace), table: name };
      replace(index, index + 2, `${quoteIdentifier(at.keyspace)}.${quoteIdentifier(at.table)}`);
      index += 2;
    } else if (kind === 'keyspace') {
      replace(index, index, quoteIdentifier(renames.keyspaceOnTarget(keyspace)));
      break;
    }
  }
  return renamed + text.slice(from);
}
