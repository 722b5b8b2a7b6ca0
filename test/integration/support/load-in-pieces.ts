import { setTimeout as delay } from 'node:timers/promises';
import { expect } from 'vitest';
import { readMigrationConfig, resolveCluster } from '#adapters/config-file.ts';
import { createCqlSession } from '#adapters/cql/session.ts';
import { openLedger } from '#adapters/ledger.ts';
import { createLogger } from '#adapters/logger.ts';
import { createFileObjectStore } from '#adapters/object-store-file.ts';
import { openSnapshotPlace } from '#adapters/snapshot-place.ts';
import type { LoadItem } from '#core/jobs/load-plan.ts';
import { loadRange } from '#core/jobs/load-range.ts';
import { runKeys } from '#core/jobs/validation-plan.ts';
import { splitRing } from '#core/token/token-range.ts';
import type { MigrationCommand } from './command.ts';
import type { Random } from './random.ts';

/** Loads what an earlier run has loaded once more: its ranges cut into many, in a random order. */
export async function loadInPieces(random: Random, command: MigrationCommand, earlierRun: string): Promise<void> {
  const config = await readMigrationConfig(command.configFile);
  const target = await resolveCluster('target', config.target);
  const objects = createFileObjectStore(`${command.ledgerFolder}-objects`);
  const plan = new TextDecoder().decode(await objects.get(runKeys.plan(earlierRun)));
  const items = JSON.parse(plan) as LoadItem[];
  const pieces = items.flatMap((item) =>
    splitRing(7).flatMap(({ start, end }) => {
      const from = start > BigInt(item.start) ? start : BigInt(item.start);
      const to = end < BigInt(item.end) ? end : BigInt(item.end);
      return from < to ? [{ ...item, start: String(from), end: String(to) }] : [];
    }),
  );
  const session = await createCqlSession({ ...target, retry: { ...target.retry, maxAttempts: 1 } });
  const ports = {
    objects,
    openSnapshot: (uri: string) =>
      openSnapshotPlace(uri, (bucket) => {
        throw new Error(`no bucket is expected: ${bucket}`);
      }),
    target: session,
    ledger: await openLedger(config, { by: 'test', why: 'test' }),
    clock: { nowMillis: Date.now },
    logger: createLogger('load', 'warn', 2),
    sleep: (ms: number) => delay(ms),
  };
  try {
    const numbered = pieces.map((piece, index) => ({
      ...piece,
      index,
      runId: `${earlierRun}-again`,
      listAttemptBase: 1,
    }));
    for (const item of random.shuffle(numbered)) {
      expect((await loadRange({ item, ports })).kind).toBe('done');
    }
  } finally {
    await session.close();
  }
}
