import { setTimeout as sleep } from 'node:timers/promises';
import type { Phase } from '#core/config/schema.ts';
import { changePhase } from '#core/jobs/change-phase.ts';
import type { Ledger } from '#core/ledger/ledger.ts';
import type { PhaseRecord } from '#core/ledger/records.ts';

/** Changes the phase whatever gates are closed, also over several phases. */
export function forcePhase(ledger: Ledger, phase: Phase): Promise<PhaseRecord> {
  return changePhase(
    { phase, by: 'test', why: '', force: true, fence: [], withoutProxies: false, drainTimeoutMs: 30_000 },
    { ledger, now: () => new Date(), sleep: (ms) => sleep(ms), onWait: () => undefined },
  );
}

/** The same through the admin API of a proxy. */
export async function forcePhaseOver(adminUrl: string, token: string, phase: Phase): Promise<void> {
  const response = await fetch(`${adminUrl}/phase`, {
    method: 'PUT',
    headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' },
    body: JSON.stringify({ phase, force: true, drainTimeoutMs: 30_000 }),
  });
  const text = await response.text();
  if (!response.ok) throw new Error(`PUT /phase ${phase}: ${response.status} ${text}`);
}
