import type { BoundTerm, ColumnOperation, Statement } from './statement.ts';

const OF_ELEMENTS: ReadonlySet<string> = new Set(['add', 'subtract', 'prepend', 'setElement', 'deleteElement']);

/**
 * Whether a mutation may write a non-frozen list, for all that its text tells.
 * @param hasListMarker whether one of its markers is for a list; undefined: nobody has said
 */
export function mayWriteList(statement: Statement, hasListMarker: boolean | undefined): boolean {
  if (statement.kind === 'batch') return statement.children.some((child) => mayWriteList(child, hasListMarker));
  if (statement.kind !== 'insert' && statement.kind !== 'update' && statement.kind !== 'delete') return false;
  if (isOpaque(statement)) return true;
  const mayBeList = (term: BoundTerm): boolean => {
    if (term.kind === 'marker') return hasListMarker ?? true;
    return term.kind === 'expression' && !term.text.startsWith('{');
  };
  const isOfList = ({ operation, term }: ColumnOperation): boolean =>
    operation === 'setElement' || operation === 'deleteElement' || (OF_ELEMENTS.has(operation) && mayBeList(term));
  return statement.operations.some(isOfList) || [...assignedTerms(statement).values()].some(mayBeList);
}

/** What it leaves of a list depends on what was in it, if there is a list among its columns. */
export function changesElements(statement: Statement): boolean {
  return statement.operations.some(({ operation }) => OF_ELEMENTS.has(operation));
}

/** The columns that are lists if their types say so; undefined: the text does not name them all. */
export function listCandidates(statement: Statement): string[] | undefined {
  if (isOpaque(statement)) return undefined;
  const elements = statement.operations.filter(({ operation }) => OF_ELEMENTS.has(operation));
  return [...assignedTerms(statement).keys(), ...elements.map(({ column }) => column)];
}

/** The document, or the part that is not understood, may name any column. */
function isOpaque(statement: Statement): boolean {
  return !statement.isUnderstood || (statement.isJson && statement.kind === 'insert');
}

/** Of columns that are written as a whole, the key of an INSERT included. */
function assignedTerms(statement: Statement): ReadonlyMap<string, BoundTerm> {
  return statement.kind === 'insert' ? statement.boundColumns : statement.assigned;
}
