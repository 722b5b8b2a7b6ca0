/** The target's secondary indexes, for verbs that drop or restore them. */

import { setTimeout as delay } from 'node:timers/promises';
import { connectDriver } from '#adapters/cassandra/driver-client.ts';
import { createIndexAdmin } from '#adapters/cassandra/index-admin.ts';
import { readYamlFile, resolveCluster } from '#adapters/config-file.ts';
import { createLogger } from '#adapters/logger.ts';
import { type IndexList, indexListSchema } from '#core/config/index-list.ts';
import type { MigrationConfig } from '#core/config/schema.ts';
import type { IndexPorts } from '#core/jobs/drop-indexes.ts';
import {
  type RestoreOptions,
  type RestoreResult,
  type RestoreScope,
  restoreIndexes,
} from '#core/jobs/restore-indexes.ts';
import type { Ledger } from '#core/ledger/ledger.ts';
import { createProgress } from './output.ts';

interface IndexContext {
  readonly config: MigrationConfig;
  readonly ledger: Ledger;
}

/** Runs `body` with a control-plane connection to the target. */
export async function withIndexPorts<T>(
  { config, ledger }: IndexContext,
  body: (ports: IndexPorts) => Promise<T>,
  signal?: AbortSignal,
): Promise<T> {
  const client = await connectDriver(await resolveCluster('target', config.target));
  try {
    return await body({
      indexes: createIndexAdmin(client, config.target.localDatacenter),
      ledger,
      clock: { nowMillis: Date.now },
      logger: createLogger('indexes', 'warn', 2),
      sleep: (ms) => delay(ms, undefined, { signal }),
    });
  } finally {
    await client.shutdown();
  }
}

/** Creates again what is owed, and waits until it is built. */
export function restoreHere(
  context: IndexContext,
  scope: RestoreScope,
  how: Pick<RestoreOptions, 'signal' | 'onLook'>,
): Promise<RestoreResult> {
  const { indexBuilds, indexBuildTimeoutMinutes } = context.config.bulkLoad;
  const options = { buildsAtOnce: indexBuilds, buildTimeoutMs: indexBuildTimeoutMinutes * 60_000, ...how };
  return withIndexPorts(context, (ports) => restoreIndexes(scope, ports, options), how.signal);
}

/** The same with a line of progress, as building may take hours. */
export async function restoreVisibly(context: IndexContext, scope: RestoreScope): Promise<RestoreResult> {
  const progress = createProgress('indexes');
  const onLook = ({ built, total, failed }: RestoreResult) =>
    progress.update(
      built,
      total,
      `${built} of ${total} are built${failed.length > 0 ? `, ${failed.length} failed` : ''}`,
    );
  try {
    return await restoreHere(context, scope, { onLook });
  } finally {
    progress.end();
  }
}

/** undefined: no list, so every index of the loaded tables. */
export async function readIndexList(file: string | null): Promise<IndexList | undefined> {
  return file === null ? undefined : readYamlFile(indexListSchema, file, 'the list of indexes');
}
