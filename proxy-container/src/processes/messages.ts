/** What the host and its processes say to each other. */
import { type ClosedGate, ConfigError, describeError, GateClosedError, UsageError } from '#core/errors.ts';
import type { AdminSubject } from '../admin/admin-subject.ts';
import type { PreparedText } from '../requests/prepared-statements.ts';

/** What the host asks of a process: a method of its subject. */
export type Verb = keyof AdminSubject;

export interface Question {
  readonly kind: 'question';
  readonly id: number;
  readonly verb: Verb;
  readonly argument?: unknown;
}

/** An error on its way to another process: which one, so that it is answered as if it had been thrown here. */
interface SentError {
  readonly name: string;
  readonly message: string;
  /** What is refused, or where the faults are. */
  readonly what: string;
  readonly reasons: readonly string[];
  readonly unmet: readonly ClosedGate[];
  readonly issues: ConfigError['issues'];
}

export type Answer = { readonly kind: 'answer'; readonly id: number } & (
  | { readonly value: unknown }
  | { readonly error: SentError }
);

/** A process takes clients; `port` is where. */
export interface Ready {
  readonly kind: 'ready';
  readonly port: number;
}

/** Statements that clients have prepared: a client may execute them in another process, as ids are the same everywhere. */
export interface Prepared {
  readonly kind: 'prepared';
  readonly statements: readonly PreparedText[];
}

/** Asks for all that a process knows, for one that is new. */
export interface Share {
  readonly kind: 'share';
}

export type FromProcess = Answer | Ready | Prepared;
export type ToProcess = Question | Prepared | Share;

export function sendError(error: unknown): SentError {
  const isGate = error instanceof GateClosedError;
  const isConfig = error instanceof ConfigError;
  return {
    name: error instanceof Error ? error.name : 'Error',
    message: describeError(error),
    what: isGate ? error.message.split(' is refused:')[0]! : isConfig ? String(error.context['source']) : '',
    reasons: isGate ? error.reasons : [],
    unmet: isGate ? error.unmet : [],
    issues: isConfig ? error.issues : [],
  };
}

/** The error that was sent, of the class that the admin API knows. */
export function receiveError({ name, message, what, reasons, unmet, issues }: SentError): Error {
  switch (name) {
    case 'GateClosedError':
      return new GateClosedError(what, reasons, unmet);
    case 'ConfigError':
      return new ConfigError(what, issues);
    case 'UsageError':
      return new UsageError(message);
    default:
      return new Error(message);
  }
}
