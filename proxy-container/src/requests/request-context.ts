import type { Consistency } from '#core/model/cql-request.ts';
import type { TimestampGenerator } from '../writes/timestamps.ts';
import type { Expiry } from './expiry.ts';
import type { PreparedStatements } from './prepared-statements.ts';

/** What reading a request needs besides its bytes. */
export interface RequestContext {
  readonly prepared: PreparedStatements;
  readonly timestamps: TimestampGenerator;
  readonly expiry: Expiry;
  /** By the client's level; for the target only. */
  readonly targetConsistency: ReadonlyMap<Consistency, Consistency>;
}
