import { GateClosedError } from '../errors.ts';
import type { PhaseRecord } from '../ledger/records.ts';

/** Phases in which increments of the application reach the origin only, so that the target's counters stand still. */
const STILL_TARGET = 'origin-only';

/**
 * Refuses to load counters while increments may reach the target another way.
 * @param input `countersQuiesced`: the operator says that nobody writes the counter tables, on either side
 * @throws GateClosedError with the remedy
 */
export function checkCounterGate(
  input: { readonly keyspace: string; readonly countersQuiesced?: boolean },
  phase: PhaseRecord | undefined,
): void {
  const refusal = counterRefusal(phase, input.countersQuiesced ?? false);
  if (refusal !== undefined) throw new GateClosedError(`loading counters of ${input.keyspace}`, refusal);
}

function counterRefusal(phase: PhaseRecord | undefined, isQuiesced: boolean): string[] | undefined {
  if (phase === undefined) return undefined;
  const { active, proposal } = phase;
  if (active.phase === 'target-only' || proposal?.phase === 'target-only') {
    return [
      'the target alone takes the increments now (phase target-only): the snapshot of the origin is behind it, and loading it would take them back',
    ];
  }
  if (isQuiesced) return undefined;
  const changing = proposal === null || proposal.phase === STILL_TARGET ? undefined : proposal.phase;
  if (active.phase === STILL_TARGET && changing === undefined) return undefined;
  return [
    `in phase ${changing ?? active.phase} increments reach the target too, and what is added is computed from what the target holds: an increment between reading and adding, or one that the snapshot lacks, would be lost or counted twice. Stop the writers of the counter tables, take a snapshot then, load it with --counters --counters-quiesced, and let the writers go on when it is done`,
  ];
}
