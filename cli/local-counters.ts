/** Bringing counters together, in this process. */
import { GateClosedError, SchemaMismatchError } from '#core/errors.ts';
import { type ConvergedTable, convergeCounters } from '#core/jobs/converge-counters.ts';
import { authorityOf } from '#core/jobs/reconcile-range.ts';
import { newRunId } from '#core/jobs/validation-plan.ts';
import { hasExpired } from '#core/ledger/phase-change.ts';
import { compareSchemas } from '#core/model/compare-schema.ts';
import { refuseRenames } from '#core/model/rename.ts';
import { readSchemaOf, withSessions } from './local-validation.ts';
import { whoAmI } from './open-ledger.ts';
import { createProgress } from './output.ts';
import type { RunContext } from './runs.ts';

/**
 * The counter tables of a keyspace, one after the other.
 * @throws GateClosedError while a change of phase is under way, or somebody else is at work on them
 */
export async function convergeLocally(
  input: { readonly keyspace: string; readonly tables: readonly string[] | undefined },
  context: RunContext,
): Promise<readonly ConvergedTable[]> {
  const { keyspace } = input;
  refuseRenames(context.config.renames, 'validation');
  const phase = await context.ledger.readPhase();
  if (phase?.proposal && !hasExpired(phase.proposal, new Date())) {
    throw new GateClosedError(`counters of ${keyspace}`, ['the phase is being changed; do it before or after']);
  }
  const authority = authorityOf(phase?.active.phase);
  const by = whoAmI();
  const runId = newRunId('validation', keyspace, new Date(), Math.random());
  return withSessions(context, async ({ ports, options }) => {
    const [origin, target] = await Promise.all([
      readSchemaOf('origin', keyspace, input.tables, context),
      readSchemaOf('target', keyspace, undefined, context),
    ]);
    const isWanted = (table: string) => options.filter.decide(keyspace, table).kind === 'migrate';
    const counters = origin.filter(({ isCounter, table }) => isCounter && isWanted(table));
    const faults = compareSchemas(counters, target).filter(({ severity }) => severity === 'error');
    if (faults.length > 0) {
      const told = faults.map(({ table, message }) => `${keyspace}.${table}: ${message}`);
      throw new SchemaMismatchError(`the counter tables of the two clusters do not fit: ${told.join('; ')}`);
    }
    const done: ConvergedTable[] = [];
    const progress = createProgress('counters');
    try {
      for (const schema of counters) {
        done.push(await convergeCounters(schema, ports, { ...options, authority, runId, by }));
        progress.update(done.length, counters.length, `${done.length} of ${counters.length} tables`);
      }
    } finally {
      progress.end();
    }
    return done;
  });
}
