import { types } from 'cassandra-driver';
import { z } from 'zod';
import { RunFailedError } from '#core/errors.ts';
import { administrator, appLogin, connectTo } from '../cluster-roles.ts';
import { filteredTenant } from '../local-migration.ts';
import { LiveApplication } from './live-application.ts';
import { ProxyProcess, ringshift } from './product.ts';
import { part, pause, type Story, thousands } from './story.ts';
import { insertFile } from './tables.ts';

const CQL_PORT = 9042;

/** The proxy in `origin-only`, and the application that connects to it and knows of nothing else. */
export async function startProxyAndApplication(story: Story): Promise<void> {
  const { environment, narrator } = story;
  const proxy = new ProxyProcess(
    part(story, 'product'),
    environment.folder,
    `http://${environment.proxyAddress}:8080`,
    story.fail,
  );
  story.parts.proxy = proxy;
  await proxy.waitUntilReady(story.signal);
  narrator.say(`the proxy serves CQL on ${environment.proxyAddress}:${CQL_PORT} (log: ${proxy.logFile})`);
  story.parts.application = new LiveApplication(environment.proxyAddress, CQL_PORT, story.fail);
  await pause(story, 3000);
  const report = story.parts.application.report;
  if (!report || report.writes === 0) throw new RunFailedError('the application does not get through to the proxy');
  narrator.say('the application reads and writes through it; only its contact point was changed');
}

const phaseShape = z.object({ phase: z.object({ active: z.object({ phase: z.string(), epoch: z.number() }) }) });

/** `ringshift phase set`: every proxy drains the old phase before any acts on the new one. */
export function setPhase(story: Story, phase: string, extra: readonly string[] = []): Promise<void> {
  return changePhase(story, ['phase', 'set', phase, ...extra]);
}

/** The same by a verb with a meaning of its own. No gate is forced. */
export async function changePhase(story: Story, verb: readonly string[]): Promise<void> {
  const started = Date.now();
  const { json } = await ringshift(part(story, 'product'), [...verb, '--why', 'demo'], phaseShape);
  const { active } = json.phase;
  part(story, 'application').enterPhase(active.phase);
  story.narrator.say(`phase ${active.phase} (epoch ${active.epoch}) in force after ${Date.now() - started} ms`);
}

/** What the rules of filter-rules.yaml exclude is accepted, and stays on the origin. */
export async function writeFilteredTenant(story: Story): Promise<void> {
  const { environment, narrator } = story;
  const id = types.Uuid.random();
  const key = [types.Uuid.fromString(filteredTenant), id];
  const proxy = connectTo({ address: environment.proxyAddress, port: CQL_PORT }, appLogin);
  try {
    await proxy.execute(insertFile, [...key, 'stays-on-the-origin.mov', 1, 'NEW'], { prepare: true });
  } finally {
    await proxy.shutdown();
  }
  await pause(story, 1000);
  const [onOrigin, onTarget] = await Promise.all([hasFile(environment.origin, key), hasFile(environment.target, key)]);
  if (!onOrigin || onTarget) {
    throw new RunFailedError(
      `the filtered tenant's row should be on the origin alone (origin: ${onOrigin}, target: ${onTarget})`,
    );
  }
  narrator.say(`a row of tenant ${filteredTenant}, which filter-rules.yaml excludes, stayed on the origin`);
}

async function hasFile(node: Story['environment']['origin'], key: readonly types.Uuid[]): Promise<boolean> {
  const client = connectTo(node, administrator);
  try {
    const query = 'SELECT name FROM files_keyspace.files WHERE system_domain_id = ? AND id = ?';
    return (await client.execute(query, [...key], { prepare: true })).rowLength > 0;
  } finally {
    await client.shutdown();
  }
}

/** Shows that both clusters get every write from now on. */
export async function watchApplication(story: Story, milliseconds: number): Promise<void> {
  const application = part(story, 'application');
  const before = application.report?.writes ?? 0;
  await pause(story, milliseconds);
  const writes = (application.report?.writes ?? 0) - before;
  story.narrator.say(`the application wrote ${thousands(writes)} times in ${milliseconds / 1000} s, without an error`);
}
