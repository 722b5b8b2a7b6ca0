import type { BoundTerm, Statement } from '#core/statement/statement.ts';
import type { ClientRequest } from '../requests/client-request.ts';
import type { SchemaFacts } from '../schema/schema-facts.ts';

/** A copy that waits for earlier ones of the same list. Neither method throws. */
export interface Turn {
  run(): void;
  /** An earlier one failed, so this one would stand in the wrong place: the list is read back anyway. */
  skip(): void;
}

/** What a write must keep its place in. */
export interface ListPlace {
  readonly key: string;
  /** False: the table's types are not known yet. It keeps its place, but is sent whatever became of those before. */
  readonly isList: boolean;
}

const ORDERED: ReadonlySet<string> = new Set(['add', 'subtract', 'prepend', 'setElement', 'deleteElement']);

/**
 * Keeps appends to one list in the order in which the primary took them: their places in the list are given by the
 * server that gets them, not by their write times. One copy for each row is under way at a time; other writes are not
 * looked at.
 */
export class ListOrder {
  readonly #facts: SchemaFacts;
  readonly #waiting = new Map<string, Turn[]>();

  constructor(facts: SchemaFacts) {
    this.#facts = facts;
  }

  /** undefined: its order does not matter. Of a batch the first list counts. @throws ProtocolError */
  placeOf(request: ClientRequest): ListPlace | undefined {
    for (const [index, { statement, entry }] of request.statements.entries()) {
      for (const one of statement.kind === 'batch' ? statement.children : [statement]) {
        if (!isOrdered(one)) continue;
        const keyspace = one.keyspace ?? entry?.keyspace ?? request.keyspace ?? '';
        const facts = this.#facts.known(keyspace, one.table ?? '');
        if (facts && !one.operations.some(({ column }) => facts.lists.has(column))) continue;
        request.ensureLayout();
        const lookup = request.valuesOf(index);
        const bound = facts ? [...facts.partitionKey, ...facts.clustering] : [...one.boundColumns.keys()];
        const key = bound.map((column) => keyPart(one.boundColumns.get(column), lookup));
        return { key: JSON.stringify([keyspace, one.table, ...key]), isList: facts !== undefined };
      }
    }
    return undefined;
  }

  /** Runs it now, or when the earlier ones of its place are done. */
  take({ key }: ListPlace, turn: Turn): void {
    const waiting = this.#waiting.get(key);
    if (waiting) waiting.push(turn);
    else {
      this.#waiting.set(key, []);
      turn.run();
    }
  }

  /** The one whose turn it was is done. */
  done({ key, isList }: ListPlace, hasFailed: boolean): void {
    const waiting = this.#waiting.get(key);
    if (hasFailed && isList) for (const turn of waiting?.splice(0) ?? []) turn.skip();
    const next = waiting?.shift();
    // Not from here: one that fails at once would come back at once.
    if (next) queueMicrotask(() => next.run());
    else this.#waiting.delete(key);
  }
}

/** Whether a statement may change a list in a way that depends on what is in it. */
export function isOrdered(statement: Statement): boolean {
  return statement.operations.some(({ operation }) => ORDERED.has(operation));
}

function keyPart(term: BoundTerm | undefined, lookup: ReturnType<ClientRequest['valuesOf']>): string {
  if (term === undefined) return '';
  if (term.kind === 'literal' || term.kind === 'expression') return term.text;
  if (term.kind === 'list') return term.terms.map((one) => keyPart(one, lookup)).join();
  const value = lookup(term.index, term.name);
  return value ? Buffer.from(value).toString('base64') : '';
}
