/** What the text of a statement says about where it must go, and what must be done to it first. */
export interface Statement {
  readonly kind: StatementKind;
  /** It changes nothing anywhere: SELECT, LIST, DESCRIBE. An unknown text is not a read. */
  readonly isRead: boolean;
  /** Of a mutation: all of it was read, so `columns`, `operations` and `boundColumns` are whole. */
  readonly isUnderstood: boolean;
  /** As named in the text, unquoted; undefined: the keyspace in force. For USE the keyspace itself. */
  readonly keyspace?: string;
  readonly table?: string;
  /** Has an IF. */
  readonly isLwt: boolean;
  /** SELECT JSON, INSERT JSON. */
  readonly isJson: boolean;
  /** INSERT JSON: the document. */
  readonly json?: BoundTerm;
  readonly usingTimestamp?: BoundTerm;
  readonly usingTtl?: BoundTerm;
  /** Non-deterministic functions that `replaceFunctions` and `insertMarkers` know; lower case, each occurrence. */
  readonly nonDeterministic: readonly string[];
  /** Functions about which nothing is known (user-defined ones); lower case. Such a write can't be sent twice. */
  readonly unknownFunctions: readonly string[];
  /** Columns that a mutation writes or deletes, in its order; none for INSERT JSON and for a DELETE of whole rows. */
  readonly columns: readonly string[];
  /** Increments and collection operations; which of them it is, the column's type decides. */
  readonly operations: readonly ColumnOperation[];
  /** Terms that columns are set to (INSERT) or compared with by = and IN (WHERE). */
  readonly boundColumns: ReadonlyMap<string, BoundTerm>;
  /** Terms that the columns of an UPDATE are set to as a whole. */
  readonly assigned: ReadonlyMap<string, BoundTerm>;
  readonly markerCount: number;
  /** The names of the markers in order, undefined for ?. */
  readonly markerNames: readonly (string | undefined)[];
  readonly batchKind?: 'logged' | 'unlogged' | 'counter';
  /** The statements of a BATCH; their markers are counted through the whole text. */
  readonly children: readonly Statement[];
}

/** `role` is roles, users, permissions and identities; `other` is everything that is not known. */
export type StatementKind =
  | 'select'
  | 'insert'
  | 'update'
  | 'delete'
  | 'batch'
  | 'use'
  | 'ddl'
  | 'truncate'
  | 'role'
  | 'other';

export type BoundTerm =
  | { readonly kind: 'marker'; readonly index: number; readonly name?: string }
  /** As it stands in the text, quotes included. */
  | { readonly kind: 'literal'; readonly text: string }
  /** IN (…): one of several; IN ? is one marker, which is bound to a list. */
  | { readonly kind: 'list'; readonly terms: readonly BoundTerm[] }
  | { readonly kind: 'listMarker'; readonly index: number; readonly name?: string }
  /** A function, an arithmetic expression, a collection, a tuple, a cast. */
  | { readonly kind: 'expression'; readonly text: string };

/**
 * `add` is c = c + x and c += x: a counter's increment, a list's append, an addition to a set or map. `subtract`
 * likewise. `prepend` is c = x + c, `setElement` c[x] = y, `deleteElement` DELETE c[x], `setField` c.f = x.
 */
export interface ColumnOperation {
  readonly column: string;
  readonly operation: 'add' | 'subtract' | 'prepend' | 'setElement' | 'deleteElement' | 'setField';
  readonly term: BoundTerm;
}

/** Whether the statement may be an increment of a counter; the table's type decides. */
export function isCounterSuspect(statement: Statement): boolean {
  return (
    statement.batchKind === 'counter' ||
    statement.children.some(isCounterSuspect) ||
    (statement.kind === 'update' &&
      statement.operations.some(({ operation, term }) => isIncrement(operation) && mayBeNumber(term)))
  );
}

/** Operations that give another result when applied twice, if the column is a non-frozen list. */
export function listOperationsOf(statement: Statement): readonly ColumnOperation[] {
  const own = statement.operations.filter(({ operation }) => operation !== 'setField');
  return [...own, ...statement.children.flatMap(listOperationsOf)];
}

/** INSERT, UPDATE, DELETE or a batch of them. */
export function isMutation(statement: Statement): boolean {
  return ['insert', 'update', 'delete', 'batch'].includes(statement.kind);
}

function isIncrement(operation: ColumnOperation['operation']): boolean {
  return operation === 'add' || operation === 'subtract';
}

function mayBeNumber(term: BoundTerm): boolean {
  return term.kind === 'marker' || (term.kind === 'literal' && /^[-+]?\d+$/.test(term.text));
}

/** The text of a string, UUID, number or boolean literal, without quotes. */
export function literalValue(text: string): string {
  if (text.startsWith("'")) return text.slice(1, -1).replaceAll("''", "'");
  return text.startsWith('$$') ? text.slice(2, -2) : text;
}
