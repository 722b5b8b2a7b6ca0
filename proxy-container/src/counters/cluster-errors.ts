import { ErrorCode } from '#core/cql/protocol.ts';

/** What is told apart of the errors that clusters answer with; `client_timeout`: there was no answer. */
const KINDS = [
  'client_timeout',
  'read_timeout',
  'read_failure',
  'write_timeout',
  'write_failure',
  'overloaded',
  'unavailable',
  'unprepared',
  'other',
] as const;
type ErrorKind = (typeof KINDS)[number];

const KIND_OF: ReadonlyMap<number, ErrorKind> = new Map([
  [ErrorCode.READ_TIMEOUT, 'read_timeout'],
  [ErrorCode.READ_FAILURE, 'read_failure'],
  [ErrorCode.WRITE_TIMEOUT, 'write_timeout'],
  [ErrorCode.WRITE_FAILURE, 'write_failure'],
  [ErrorCode.OVERLOADED, 'overloaded'],
  [ErrorCode.UNAVAILABLE, 'unavailable'],
  [ErrorCode.UNPREPARED, 'unprepared'],
]);

/** Counts the errors of one cluster by their kinds, those that the client never sees included. */
export class ClusterErrors {
  readonly #counts = new Map<ErrorKind, number>(KINDS.map((kind) => [kind, 0]));

  /** @param code of an ERROR message */
  note(code: number): void {
    this.#add(KIND_OF.get(code) ?? 'other');
  }

  noteTimeout(): void {
    this.#add('client_timeout');
  }

  get counts(): ReadonlyMap<ErrorKind, number> {
    return this.#counts;
  }

  #add(kind: ErrorKind): void {
    this.#counts.set(kind, this.#counts.get(kind)! + 1);
  }
}
