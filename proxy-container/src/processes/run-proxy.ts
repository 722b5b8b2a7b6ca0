import { randomUUID } from 'node:crypto';
import { resolveCluster, resolveLogins } from '#adapters/config-file.ts';
import { readKey } from '#adapters/secret-reference.ts';
import { bucketOf } from '#core/config/ledger-schema.ts';
import type { MigrationConfig } from '#core/config/schema.ts';
import type { Logger } from '#core/ports.ts';
import { LeftoverJournals } from '../journal/leftover-journals.ts';
import type { JournalPorts } from '../journal/open-journal.ts';
import { startThread } from '../journal/start-thread.ts';
import { CqlProxy } from '../proxy.ts';
import { defaultInstance } from './default-instance.ts';
import { installLastResort } from './last-resort.ts';
import { openProxyLedger, openStores } from './open-stores.ts';
import { ProcessLink } from './process-link.ts';
import { configOfProcess, instanceOfDirectory, leftoverDirectories, processCount, readPlace } from './process-place.ts';
import { reloadOnHangup } from './reload-on-hangup.ts';
import { stopOnSignals } from './stop-on-signals.ts';

/** What a queue message holds without an object store behind it. */
const MAX_INLINE_BYTES = 250 * 1024;
const MAX_OVERFLOW_BYTES = 64 * 1024 * 1024;

/** Runs the only proxy of this host, with an admin API of its own. */
export async function runProxy(config: MigrationConfig, logger: Logger): Promise<void> {
  const end: { now?: (reason: string, exitCode: number) => void } = {};
  const proxy = await createProxy(config, logger, false, () => end.now?.('fenced', 1));
  const leftovers = await createLeftovers(config, 1, config.proxy.instance ?? defaultInstance(process.env), logger);
  end.now = stopOnSignals(logger, () => Promise.all([proxy.stop(), leftovers.stop()]));
  reloadOnHangup(proxy.subject, logger);
  await proxy.start();
  leftovers.start();
  // Not before: a fault while starting is a reason not to start.
  installLastResort(process, { logger, onFault: () => proxy.noteFault() });
}

/** Runs one of several proxies of this host. */
export async function runProcess(config: MigrationConfig, logger: Logger): Promise<void> {
  const place = readPlace(process.env);
  const end: { now?: (reason: string, exitCode: number) => void } = {};
  const proxy = await createProxy(configOfProcess(config, place), logger, true, () => end.now?.('fenced', 1));
  const leftovers =
    place.index === 1 ? await createLeftovers(config, processCount(config.proxy), place.instance, logger) : undefined;
  const stop = stopOnSignals(logger, () => Promise.all([proxy.stop(), leftovers?.stop()]));
  end.now = stop;
  // Its host reads its files again for it; this only must not end it.
  process.on('SIGHUP', () => undefined);
  const link = new ProcessLink(proxy.subject, proxy.prepared, () => stop('the host is gone'));
  await proxy.start();
  installLastResort(process, { logger, onFault: () => proxy.noteFault() });
  leftovers?.start();
  link.sayReady(proxy.listenAddress?.port ?? 0);
}

/** @param onFenced called when somebody has declared this process dead: it ends, and whoever runs it starts it anew */
async function createProxy(
  config: MigrationConfig,
  logger: Logger,
  isOneOfSeveral: boolean,
  onFenced: () => void,
): Promise<CqlProxy> {
  const [origin, target] = await Promise.all([
    resolveCluster('origin', config.origin),
    resolveCluster('target', config.target),
  ]);
  return new CqlProxy(config, {
    ...(await openStores(config, config.proxy.instance ?? defaultInstance(process.env), logger)),
    ...(await journalPorts(config, logger)),
    origin,
    target,
    // A driver of its own, of which a proxy that nobody asks for a change needs nothing.
    lookAtClusters: async () =>
      (await import('#adapters/cassandra/look-at-clusters.ts')).lookAtClusters({ origin, target }, config),
    logins: await resolveLogins(config.proxy.logins),
    isOneOfSeveral,
    onFenced,
  });
}

async function createLeftovers(
  config: MigrationConfig,
  count: number,
  instance: string,
  logger: Logger,
): Promise<LeftoverJournals> {
  return new LeftoverJournals({
    config,
    directories: await leftoverDirectories(config.failedWrites.journalDir, count),
    instance,
    instanceOf: (directory) => instanceOfDirectory(directory, instance),
    processId: randomUUID(),
    ledger: await openProxyLedger(config, instance),
    ports: await journalPorts(config, logger),
  });
}

/** @throws ConfigError, PrerequisiteError, AuthenticationFailedError when a key can not be had */
async function journalPorts({ failedWrites, ledger }: MigrationConfig, logger: Logger): Promise<JournalPorts> {
  const { journalKey, previousJournalKeys } = failedWrites;
  const current = journalKey === null ? null : await readKey('failedWrites.journalKey', journalKey);
  const previous = await Promise.all(
    previousJournalKeys.map((one, index) => readKey(`failedWrites.previousJournalKeys.${index}`, one)),
  );
  const isBounded = failedWrites.kind === 'sqs' && bucketOf(ledger) === undefined;
  const maxMessageBytes = isBounded ? MAX_INLINE_BYTES : MAX_OVERFLOW_BYTES;
  return { startJournal: startThread, journalKeys: { current, previous }, maxMessageBytes, logger };
}
