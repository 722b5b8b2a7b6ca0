import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { PrerequisiteError } from '#core/errors.ts';
import { cassandraYaml, logbackXml, type NodeSettings, rackProperties, toolLogbackXml } from './cassandra-config.ts';
import { answersCql } from './cql-probe.ts';
import { listJars, serverArguments } from './java-command.ts';
import { jarFolder } from './paths.ts';
import { requireFreePort } from './ports.ts';
import { commandLineOf, lastLines, startDaemon, stopProcess } from './processes.ts';

const START_TIMEOUT_MS = 180_000;

function writeConfiguration(settings: NodeSettings): void {
  const conf = join(settings.folder, 'conf');
  for (const name of ['conf', 'logs', 'data', 'tmp', 'tools']) {
    mkdirSync(join(settings.folder, name), { recursive: true });
  }
  writeFileSync(join(conf, 'cassandra.yaml'), cassandraYaml(settings));
  writeFileSync(join(conf, 'cassandra-rackdc.properties'), rackProperties());
  writeFileSync(join(conf, 'logback.xml'), logbackXml(join(settings.folder, 'logs', 'system.log')));
  writeFileSync(join(conf, 'logback-tools.xml'), toolLogbackXml());
}

function logTail(settings: NodeSettings, lines: number): string {
  const texts = ['system.log', 'stdout.log'].map((name) => {
    try {
      return readFileSync(join(settings.folder, 'logs', name), 'utf8');
    } catch {
      return '';
    }
  });
  return lastLines(texts.filter((text) => text !== '').join('\n'), lines);
}

/** The pid of this node if it runs. A pid file alone proves nothing: the process must be a JVM with this folder. */
export async function runningPid(settings: NodeSettings): Promise<number | undefined> {
  let pid: number;
  try {
    pid = Number(readFileSync(join(settings.folder, 'pid'), 'utf8'));
  } catch {
    return undefined;
  }
  if (!Number.isInteger(pid) || pid <= 1) return undefined;
  const command = await commandLineOf(pid);
  return command?.includes(`-Dcassandra.storagedir=${settings.folder} `) ? pid : undefined;
}

/** Throws early, before a JVM is started, when a port of the node is taken. @throws PrerequisiteError */
export async function requireNodePorts(settings: NodeSettings): Promise<void> {
  await requireFreePort(settings.address, settings.port, `Cassandra ${settings.name} (CQL)`);
  await requireFreePort(settings.address, settings.storagePort, `Cassandra ${settings.name} (storage)`);
  await requireFreePort('127.0.0.1', settings.jmxPort, `Cassandra ${settings.name} (JMX)`);
}

/**
 * Starts a node and resolves when it answers CQL; one that already runs is left as it is.
 * @param keepData whether what an earlier run wrote is kept
 * @throws PrerequisiteError when a port is taken or the node died, with the last lines of its log
 */
export async function startNode(
  settings: NodeSettings,
  options: { java: string; keepData: boolean; signal?: AbortSignal },
): Promise<{ pid: number }> {
  const running = await runningPid(settings);
  if (running !== undefined) {
    await waitUntilReady(settings, () => true, options.signal);
    return { pid: running };
  }
  await requireNodePorts(settings);
  options.signal?.throwIfAborted();
  if (!options.keepData) rmSync(settings.folder, { recursive: true, force: true });
  writeConfiguration(settings);
  rmSync(join(settings.folder, 'logs', 'system.log'), { force: true });
  const child = startDaemon(
    options.java,
    serverArguments(settings, listJars(jarFolder(settings.version))),
    join(settings.folder, 'logs', 'stdout.log'),
  );
  let ended: string | undefined;
  child.once('error', (error) => {
    ended = error.message;
  });
  child.once('exit', (code, signal) => {
    ended = signal ? `signal ${signal}` : `exit code ${code}`;
  });
  if (child.pid !== undefined) writeFileSync(join(settings.folder, 'pid'), String(child.pid));
  try {
    await waitUntilReady(settings, () => ended === undefined, options.signal);
  } catch (error) {
    // Asked before we stop it ourselves, which ends it too.
    const died = ended;
    await stopNode(settings);
    if (died === undefined) throw error;
    throw new PrerequisiteError(
      `Cassandra ${settings.version} (${settings.name}) ended before it was ready (${died}). Last lines of ` +
        `${settings.folder}/logs/system.log:\n${logTail(settings, 15)}`,
    );
  }
  return { pid: child.pid as number };
}

async function waitUntilReady(settings: NodeSettings, alive: () => boolean, signal?: AbortSignal): Promise<void> {
  const deadline = Date.now() + START_TIMEOUT_MS;
  while (!(await answersCql(settings.address, settings.port, settings.clientTls))) {
    signal?.throwIfAborted();
    if (!alive() || Date.now() > deadline) {
      throw new PrerequisiteError(
        `Cassandra ${settings.version} (${settings.name}) did not answer on ${settings.address}:${settings.port} within ` +
          `${START_TIMEOUT_MS / 1000} s. Last lines of its log:\n${logTail(settings, 10)}`,
      );
    }
    await sleep(150);
  }
}

/** Stops a node and waits until it is gone; `hard` is a crash (SIGKILL), after which the data must still be there. */
export async function stopNode(settings: NodeSettings, options: { hard?: boolean } = {}): Promise<void> {
  const pid = await runningPid(settings);
  if (pid !== undefined) await stopProcess(pid, options.hard ? { graceMs: 0, signal: 'SIGKILL' } : {});
  rmSync(join(settings.folder, 'pid'), { force: true });
}
