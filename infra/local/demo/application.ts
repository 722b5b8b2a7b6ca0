/**
 * The live application: a process of its own that knows one contact point and nothing of a migration. An ordinary
 * cassandra-driver client, and a second one whose driver sends no timestamps. It runs until it is told to stop, and
 * reports every error either client sees.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { auth, Client, types } from 'cassandra-driver';
import { describeError } from '#core/errors.ts';
import type { ToApplication } from './application-messages.ts';
import { mainOperations, type Operation, secondOperations } from './operations.ts';
import { Statistics } from './statistics.ts';

const MAIN_PER_SECOND = 80;
const SECOND_PER_SECOND = 20;

const [host = '', port = '9042', username = '', password = ''] = process.argv.slice(2);

function connect(policies: object): Client {
  return new Client({
    contactPoints: [host],
    protocolOptions: { port: Number(port) },
    localDataCenter: 'dc1',
    authProvider: new auth.PlainTextAuthProvider(username, password),
    queryOptions: { consistency: types.consistencies.localQuorum },
    policies,
  });
}

const statistics = new Statistics();
let running = true;

/** Starts operations at a steady rate, whether or not earlier ones have ended, as real users do. */
async function drive(operations: readonly Operation[], perSecond: number): Promise<void> {
  const inFlight = new Set<Promise<void>>();
  const started = performance.now();
  for (let n = 0; running; n++) {
    const due = started + (n * 1000) / perSecond;
    const wait = due - performance.now();
    if (wait > 1) await sleep(wait);
    const begun = performance.now();
    const work = (operations[n % operations.length] as Operation)(n)
      .then(() => statistics.took(performance.now() - begun))
      .catch((error: unknown) => statistics.error(describeError(error)))
      .finally(() => inFlight.delete(work));
    inFlight.add(work);
  }
  await Promise.all(inFlight);
}

const main = connect({});
// null is the driver's documented way to leave timestamps to the server.
const second = connect({ timestampGeneration: null });
process.on('message', (message: ToApplication) => {
  if (message.kind === 'stop') running = false;
  else statistics.enterPhase(message.phase);
});
// The demo is gone: so is the reason to run. Its Ctrl-C is not ours; it stops us when it has stopped the story.
process.on('disconnect', () => process.exit(1));
process.on('SIGINT', () => {});

try {
  await Promise.all([main.connect(), second.connect()]);
  const timer = setInterval(() => process.send?.(statistics.report(false)), 500);
  await Promise.all([
    drive(mainOperations(main, statistics, Math.random), MAIN_PER_SECOND),
    drive(secondOperations(second, statistics, Math.random), SECOND_PER_SECOND),
  ]);
  clearInterval(timer);
} catch (error) {
  statistics.error(describeError(error));
}
await Promise.allSettled([main.shutdown(), second.shutdown()]);
process.send?.(statistics.report(true), () => process.exit(0));
