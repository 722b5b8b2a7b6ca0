import { hostname, userInfo } from 'node:os';
import { openLedger } from '#adapters/ledger.ts';
import type { MigrationConfig } from '#core/config/schema.ts';
import type { Ledger } from '#core/ledger/ledger.ts';

const open: Ledger[] = [];

/** Who runs this command, as the ledger notes it. */
export const whoAmI = (): string => `${userInfo().username}@${hostname()}`;

/** The ledger of the config; the command closes it at its end. */
export async function openCliLedger(config: MigrationConfig): Promise<Ledger> {
  const why = `ringshift ${process.argv.slice(2, 4).join(' ')}`;
  const ledger = await openLedger(config, { by: whoAmI(), why });
  open.push(ledger);
  return ledger;
}

/** Connections of a ledger would keep the process from ending. */
export async function closeLedgers(): Promise<void> {
  await Promise.all(open.splice(0).map(({ store }) => store.close().catch(() => undefined)));
}
