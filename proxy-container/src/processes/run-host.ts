import type { MigrationConfig } from '#core/config/schema.ts';
import type { Logger } from '#core/ports.ts';
import { createAdminServer } from '../admin/admin-server.ts';
import { listenOn } from '../transport/server.ts';
import { defaultInstance } from './default-instance.ts';
import { Host } from './host.ts';
import { HostSubject } from './host-subject.ts';
import { installLastResort } from './last-resort.ts';
import { reloadOnHangup } from './reload-on-hangup.ts';
import { stopOnSignals } from './stop-on-signals.ts';

/** Runs several proxies on this host, each in a process of its own, behind one port and one admin API. */
export async function runHost(config: MigrationConfig, count: number, logger: Logger): Promise<void> {
  const { proxy } = config;
  const host = new Host({
    count,
    instance: proxy.instance ?? defaultInstance(process.env),
    logger,
    onFailedStart: (code) => void host.stop().then(() => process.exit(code)),
  });
  const subject = new HostSubject(host);
  const admin = createAdminServer(proxy, subject, logger);
  const address = await listenOn(admin, proxy.admin.host, proxy.admin.port, 'proxy.admin');
  installLastResort(process, { logger, onFault: () => undefined });
  stopOnSignals(logger, async () => {
    await host.stop();
    admin.closeAllConnections();
    admin.close();
  });
  reloadOnHangup(subject, logger);
  host.start();
  logger.info('the admin API of the host answers', {
    adminPort: address.port,
    instance: host.instance,
    processes: count,
  });
}
