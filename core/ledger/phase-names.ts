import { type Phase, phases } from '../config/schema.ts';
import { UsageError } from '../errors.ts';

// Names that other tools of the trade use for the same phases; compared without case, '-' and '_'.
const ALIASES: Readonly<Record<string, Phase>> = {
  sourceonly: 'origin-only',
  dualwriteasync: 'dual-async',
  dualwritesync: 'dual-sync',
  shadowprimary: 'target-primary',
};

/**
 * The phase of this name or alias.
 * @throws UsageError listing the names
 */
export function parsePhase(name: string): Phase {
  const plain = name.toLowerCase().replaceAll(/[-_]/g, '');
  const found = phases.find((phase) => phase.replaceAll('-', '') === plain) ?? ALIASES[plain];
  if (!found) throw new UsageError(`there is no phase ${name}; the phases are ${phases.join(', ')}`);
  return found;
}

/** Its place in the order of a migration. */
export function phaseIndex(phase: Phase): number {
  return phases.indexOf(phase);
}
