/**
 * Every error that a caller may want to tell apart. The `name` is a literal because it is what Lambda reports as the
 * error type and what Step Functions matches in `ErrorEquals`; a bundler may rename a class, never a string.
 */

/** Variables of an error: what, where, which. Never a secret, never a bound value. */
export type ErrorContext = Readonly<Record<string, unknown>>;

interface MigrationErrorOptions {
  readonly cause?: unknown;
  readonly context?: ErrorContext;
}

/** The base of all errors of this product. `retryable` says whether the same call may succeed later, unchanged. */
export abstract class MigrationError extends Error {
  abstract override readonly name: string;
  abstract readonly retryable: boolean;
  readonly context: ErrorContext;

  constructor(message: string, options: MigrationErrorOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.context = options.context ?? {};
  }
}

/** One fault of a configuration file: where (path and, when known, line) and what. */
export interface ConfigIssue {
  readonly path: string;
  readonly message: string;
  readonly line?: number;
}

/** The configuration is wrong; carries every fault, not the first one. The CLI exits 2 on it. */
export class ConfigError extends MigrationError {
  override readonly name = 'ConfigError';
  override readonly retryable = false;
  readonly issues: readonly ConfigIssue[];

  constructor(source: string, issues: readonly ConfigIssue[]) {
    const lines = issues.map(
      (issue) => `  ${issue.path}${issue.line ? ` (line ${issue.line})` : ''}: ${issue.message}`,
    );
    super(`${source}: ${issues.length} fault${issues.length === 1 ? '' : 's'}\n${lines.join('\n')}`, {
      context: { source },
    });
    this.issues = issues;
  }
}

/** The command or the execution input was used wrongly. The CLI exits 2 on it. */
export class UsageError extends MigrationError {
  override readonly name = 'UsageError';
  override readonly retryable = false;
}

/** Something this machine must have is missing, or a port is taken; the message ends with the remedy. */
export class PrerequisiteError extends MigrationError {
  override readonly name = 'PrerequisiteError';
  override readonly retryable = false;
}

/** A frame, segment or message of the native protocol is broken. Closes that connection, nothing else. */
export class ProtocolError extends MigrationError {
  override readonly name = 'ProtocolError';
  override readonly retryable = false;
}

/** A statement's text is longer, or has more parts, than is taken apart here. */
export class StatementTooLargeError extends MigrationError {
  override readonly name = 'StatementTooLargeError';
  override readonly retryable = false;
}

/** No node of a cluster could be reached, or the connection broke. */
export class ClusterUnreachableError extends MigrationError {
  override readonly name = 'ClusterUnreachableError';
  override readonly retryable = true;
}

/** A cluster refused the credentials. */
export class AuthenticationFailedError extends MigrationError {
  override readonly name = 'AuthenticationFailedError';
  override readonly retryable = false;
}

/** A cluster answered with an ERROR message. `code` is the protocol's error code. */
export class ServerError extends MigrationError {
  override readonly name = 'ServerError';
  readonly code: number;
  override readonly retryable: boolean;

  constructor(message: string, code: number, retryable: boolean, context: ErrorContext = {}) {
    super(message, { context: { ...context, code } });
    this.code = code;
    this.retryable = retryable;
  }
}

/** A request got no answer in time; what it did is unknown. */
export class RequestTimeoutError extends MigrationError {
  override readonly name = 'RequestTimeoutError';
  override readonly retryable = true;
}

/** Bytes of an SSTable contradict their checksum or the format. Context: `file`, `offset` (bytes). */
export class SSTableCorruptError extends MigrationError {
  override readonly name = 'SSTableCorruptError';
  override readonly retryable = false;
}

/** An SSTable is of a version, compressor or partitioner that is not read. Context: `file`. */
export class SSTableUnsupportedError extends MigrationError {
  override readonly name = 'SSTableUnsupportedError';
  override readonly retryable = false;
}

/** A snapshot lacks a component, a table or a part of the ring. */
export class SnapshotIncompleteError extends MigrationError {
  override readonly name = 'SnapshotIncompleteError';
  override readonly retryable = false;
}

/** A snapshot was taken before dual writes were in force everywhere, or its age is unknown. */
export class SnapshotTooOldError extends MigrationError {
  override readonly name = 'SnapshotTooOldError';
  override readonly retryable = false;
}

/** The schemas of the two clusters, or of a cluster and an SSTable, do not fit. */
export class SchemaMismatchError extends MigrationError {
  override readonly name = 'SchemaMismatchError';
  override readonly retryable = false;
}

/** An object store did not answer, or answered with less than was asked for. */
export class ObjectStoreError extends MigrationError {
  override readonly name = 'ObjectStoreError';
  override readonly retryable = true;
}

/** A conditional write of the ledger lost against another one. Read again, decide again. */
export class LedgerConflictError extends MigrationError {
  override readonly name = 'LedgerConflictError';
  override readonly retryable = true;
}

/** The ledger can't be reached or holds a record that can't be understood. */
export class LedgerUnavailableError extends MigrationError {
  override readonly name = 'LedgerUnavailableError';
  override readonly retryable = true;
}

/** What keeps a gate closed. */
export interface ClosedGate {
  /** The gate, and behind a colon the instance, table, keyspace or node: what `--force` repeats. */
  readonly code: string;
  readonly text: string;
  readonly remedy: string;
  /** Whether a person may take the responsibility. */
  readonly isForcible: boolean;
}

/** A gate is closed (phase change, cut-over, second run); `reasons` says why, each with its remedy. */
export class GateClosedError extends MigrationError {
  override readonly name = 'GateClosedError';
  override readonly retryable = false;
  readonly reasons: readonly string[];
  /** Of a change of phase: every gate that is closed, forced or not. */
  readonly unmet: readonly ClosedGate[];

  constructor(what: string, reasons: readonly string[], unmet: readonly ClosedGate[] = []) {
    super(`${what} is refused:\n${reasons.map((reason) => `  - ${reason}`).join('\n')}`, {
      context: unmet.length > 0 ? { reasons, unmet } : { reasons },
    });
    this.reasons = reasons;
    this.unmet = unmet;
  }
}

/** This process was declared dead, or another one has its name: it must serve nobody any more. */
export class FencedError extends MigrationError {
  override readonly name = 'FencedError';
  override readonly retryable = false;
}

/** A failed-write message does not have the form that replay needs. It goes to the dead letters with this reason. */
export class MessageInvalidError extends MigrationError {
  override readonly name = 'MessageInvalidError';
  override readonly retryable = false;
}

/** A run ended with ranges that failed or partitions that differ where none may. */
export class RunFailedError extends MigrationError {
  override readonly name = 'RunFailedError';
  override readonly retryable = false;
}

/** One line for people: what happened, without a stack, whatever was thrown. */
export function describeError(error: unknown): string {
  if (error instanceof Error) return error.message || error.name;
  return String(error);
}
