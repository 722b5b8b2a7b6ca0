import type { MigrationConfig } from '#core/config/schema.ts';
import { Consistency, type ConsistencyName } from '#core/model/cql-request.ts';

/** The levels of `proxy.targetConsistency` by their numbers in the protocol. */
export function consistencyMap(byName: MigrationConfig['proxy']['targetConsistency']): Map<Consistency, Consistency> {
  return new Map(
    Object.entries(byName).map(([from, to]) => [
      Consistency[from as ConsistencyName],
      Consistency[to as ConsistencyName],
    ]),
  );
}
