/**
 * Brings two real Cassandra clusters and a local AWS up once for all integration tests, and takes them down at the
 * end, also when the tests failed or were interrupted. With RINGSHIFT_TEST_KEEP=1 they stay up between runs, which
 * saves their start while one works on a test; `npx ringshift local down --test` ends them. Runs that overlap share
 * them, and the last one takes them down.
 */
import { mkdirSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { startEnvironment, stopEnvironment, testEnvironment } from '../../infra/local/environment.ts';
import { awsEnvironment } from '../../infra/local/local-aws.ts';
import { prepare } from '../../infra/local/prepare.ts';
import { isAlive } from '../../infra/local/processes.ts';
import { stopTestNodes } from '../../infra/local/test-nodes.ts';
import { shareTools } from './support/shared-tools.ts';
import { provideTestEnvironment } from './support/test-environment.ts';

/** One empty file for each run, named by its process. */
const users = join(testEnvironment.folder, 'users');

function otherUsers(): string[] {
  mkdirSync(users, { recursive: true });
  return readdirSync(users).filter((name) => name !== String(process.pid) && isAlive(Number(name)));
}

async function leave(keep: boolean): Promise<void> {
  rmSync(join(users, String(process.pid)), { force: true });
  if (otherUsers().length > 0) return;
  await stopTestNodes();
  if (!keep) await stopEnvironment(testEnvironment);
}

export default async function setup(): Promise<() => Promise<void>> {
  const report = (line: string): void => void process.stdout.write(`${line}\n`);
  const keep = process.env['RINGSHIFT_TEST_KEEP'] === '1';
  const interrupted = new AbortController();
  const onSignal = (): void => {
    interrupted.abort(new Error('interrupted'));
    void leave(keep).finally(() => process.exit(130));
  };
  process.once('SIGINT', onSignal).once('SIGTERM', onSignal).once('SIGHUP', onSignal);
  const { java } = await prepare(report);
  const shared = otherUsers().length > 0;
  writeFileSync(join(users, String(process.pid)), '');
  try {
    // What a killed run left behind holds its data; a fresh start has none.
    if (!shared && !keep) await stopEnvironment(testEnvironment);
    await startEnvironment(testEnvironment, { java, keepData: shared || keep, report, signal: interrupted.signal });
  } catch (error) {
    await leave(false);
    throw error;
  }
  const tools = await shareTools(java);
  Object.assign(process.env, awsEnvironment(testEnvironment.aws));
  provideTestEnvironment(process.env, tools.socket);
  return async () => {
    tools.close();
    process.off('SIGINT', onSignal).off('SIGTERM', onSignal).off('SIGHUP', onSignal);
    await leave(keep);
  };
}
