import { GateClosedError } from '../errors.ts';
import type { Ledger } from '../ledger/ledger.ts';

/**
 * For a range, before it begins and whenever it says how far it is: its run may have been stopped by somebody who can't
 * end this process, and its keyspace given to another.
 * @throws GateClosedError when the run has ended
 */
export async function requireUnderWay(runId: string, ledger: Pick<Ledger, 'readRun'>): Promise<void> {
  const state = (await ledger.readRun(runId))?.state;
  if (state === undefined || state === 'running') return;
  throw new GateClosedError(`a range of ${runId}`, [
    state === 'stopped'
      ? `the run was stopped; go on with: ringshift load resume ${runId}`
      : `the run has ended (${state}); start another`,
  ]);
}
