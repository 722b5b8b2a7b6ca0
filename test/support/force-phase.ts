import { setTimeout as sleep } from 'node:timers/promises';
import { createLogger } from '#adapters/logger.ts';
import type { Phase } from '#core/config/schema.ts';
import { type ClosedGate, GateClosedError } from '#core/errors.ts';
import { changePhase } from '#core/jobs/change-phase.ts';
import { forcibleCodes } from '#core/ledger/gates.ts';
import type { Ledger } from '#core/ledger/ledger.ts';
import type { PhaseRecord } from '#core/ledger/records.ts';
import { openGates } from './open-gates.ts';

/** What other test files do on the same clusters opens and closes gates meanwhile. */
const MAX_TRIES = 10;

/** Changes the phase whatever gates are closed, also over several phases; those that can't be forced stay closed. */
export function forcePhase(ledger: Ledger, phase: Phase): Promise<PhaseRecord> {
  return forcing((force) =>
    changePhase(
      { phase, by: 'test', why: '', force, fence: [], withoutProxies: false, drainTimeoutMs: 30_000 },
      {
        ledger,
        gates: openGates,
        logger: createLogger('test', 'silent'),
        now: () => new Date(),
        sleep: (ms) => sleep(ms),
        onWait: () => undefined,
      },
    ),
  );
}

/** The same through the admin API of a proxy. */
export function forcePhaseOver(
  adminUrl: string,
  token: string,
  phase: string,
  more: { readonly abandonFiltered?: boolean } = {},
): Promise<void> {
  return forcing(async (force) => {
    const response = await fetch(`${adminUrl}/phase`, {
      method: 'PUT',
      headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' },
      body: JSON.stringify({ phase, force, drainTimeoutMs: 30_000, ...more }),
    });
    const text = await response.text();
    if (response.ok) return;
    const { reasons, unmet } = JSON.parse(text) as { reasons?: string[]; unmet?: ClosedGate[] };
    if (response.status === 409) throw new GateClosedError(`PUT /phase ${phase}`, reasons ?? [], unmet);
    throw new Error(`PUT /phase ${phase}: ${response.status} ${text}`);
  });
}

/** Asks, and again with the codes of the refusal. */
async function forcing<T>(change: (force: readonly string[]) => Promise<T>): Promise<T> {
  let force: readonly string[] = [];
  for (let attempt = 1; ; attempt++) {
    try {
      return await change(force);
    } catch (error) {
      if (!(error instanceof GateClosedError) || attempt >= MAX_TRIES) throw error;
      if (error.unmet.length === 0 || error.unmet.some(({ isForcible }) => !isForcible)) throw error;
      force = forcibleCodes(error.unmet);
    }
  }
}
