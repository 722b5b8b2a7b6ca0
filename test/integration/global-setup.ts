/**
 * Brings two real Cassandra clusters and a local AWS up once for all integration tests, and takes them down at the
 * end, also when the tests failed or were interrupted. With RINGSHIFT_TEST_KEEP=1 they stay up between runs, which
 * saves their start while one works on a test; `npx ringshift local down --test` ends them.
 */

import { startEnvironment, stopEnvironment, testEnvironment } from '../../infra/local/environment.ts';
import { awsEnvironment } from '../../infra/local/local-aws.ts';
import { prepare } from '../../infra/local/prepare.ts';
import { provideTestEnvironment } from './support/test-environment.ts';

export default async function setup(): Promise<() => Promise<void>> {
  const report = (line: string): void => void process.stdout.write(`${line}\n`);
  const keep = process.env['RINGSHIFT_TEST_KEEP'] === '1';
  const interrupted = new AbortController();
  const onSignal = (): void => interrupted.abort(new Error('interrupted'));
  process.once('SIGINT', onSignal).once('SIGTERM', onSignal);
  const { java } = await prepare(report);
  await startEnvironment(testEnvironment, { java, keepData: keep, report, signal: interrupted.signal });
  Object.assign(process.env, awsEnvironment(testEnvironment.aws));
  provideTestEnvironment(process.env);
  return async () => {
    process.off('SIGINT', onSignal).off('SIGTERM', onSignal);
    if (!keep) await stopEnvironment(testEnvironment);
  };
}
