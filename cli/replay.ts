import { setTimeout as delay } from 'node:timers/promises';
import type { Command } from 'commander';
import { createSqsClient } from '#adapters/aws-clients.ts';
import { resolveCluster } from '#adapters/config-file.ts';
import { createCqlSession } from '#adapters/cql/session.ts';
import { createLogger } from '#adapters/logger.ts';
import { createSqsFailedWriteQueue } from '#adapters/sqs.ts';
import { delayMessage, deleteMessage, receiveMessages } from '#adapters/sqs-consumer.ts';
import { resolveMessageBody } from '#adapters/sqs-overflow.ts';
import { UsageError } from '#core/errors.ts';
import { type ReplayPorts, type ReplayResult, replayMessages } from '#core/jobs/replay.ts';
import type { CqlSession } from '#core/ports.ts';
import { withCommonOptions } from './clusters.ts';
import { type CommonOptions, createProgress, ExitCode, printResult } from './output.ts';
import { openRuns, type RunContext } from './runs.ts';

/** Longer than a batch of ten can take, so that no other consumer gets them meanwhile. */
const VISIBILITY_SECONDS = 300;
const MAX_REASONS_SHOWN = 20;

interface RunOptions extends CommonOptions {
  readonly local?: boolean;
  readonly rate?: string;
}

export function register(program: Command): void {
  const replay = program.command('replay').description('failed shadow writes: the queue and its dead letters');
  withCommonOptions(
    replay
      .command('status')
      .description('how many wait, are being applied, or are dead; exit code 1 when some are dead'),
  ).action(status);
  withCommonOptions(
    replay.command('redrive').description('put the dead letters back into the queue, after their cause is mended'),
  ).action(redrive);
  withCommonOptions(
    replay
      .command('run')
      .description('apply what waits in the queue from this process; exit code 1 when some could not be applied')
      .requiredOption('--local', 'in this process (in AWS the replay function does it by itself)')
      .option('--rate <messages>', 'the most messages in a second'),
  ).action(run);
}

function openQueue({ config, objects }: RunContext) {
  const { queueUrl } = config.failedWrites;
  if (queueUrl === null) throw new UsageError('failedWrites.queueUrl is not set, so there is no queue to look at');
  return { queueUrl, queue: createSqsFailedWriteQueue({ client: createSqsClient(), queueUrl, overflow: objects }) };
}

async function status(options: CommonOptions): Promise<void> {
  const depth = await openQueue(await openRuns(options.config)).queue.depth();
  printResult(options, depth, [
    `${depth.waiting} waiting, ${depth.inFlight} being applied, ${depth.deadLetters} dead letters`,
  ]);
  if (depth.deadLetters > 0) process.exitCode = ExitCode.found;
}

async function redrive(options: CommonOptions): Promise<void> {
  const moved = await openQueue(await openRuns(options.config)).queue.redriveDeadLetters();
  printResult(options, { moved }, [`${moved} dead letters are back in the queue`]);
}

async function run(options: RunOptions): Promise<void> {
  const rate = options.rate === undefined ? undefined : Number(options.rate);
  if (rate !== undefined && !(rate > 0)) throw new UsageError('--rate wants a number above 0');
  const context = await openRuns(options.config);
  const { queueUrl } = openQueue(context);
  const sessions = new Map<'origin' | 'target', Promise<CqlSession>>();
  const ports: ReplayPorts = {
    ledger: context.ledger,
    clock: { nowMillis: Date.now },
    logger: createLogger('replay', 'warn', 2),
    sleep: (ms, signal) => delay(ms, undefined, { signal }),
    openSession(cluster) {
      const session = sessions.get(cluster) ?? openSession(cluster, context);
      sessions.set(cluster, session);
      // A cluster that is away now may be back for the next message.
      session.catch(() => sessions.delete(cluster));
      return session;
    },
  };
  try {
    const results = await drain(queueUrl, context, ports, rate);
    const dead = results.filter((result) => result.kind === 'dead');
    const retry = results.filter((result) => result.kind === 'retry');
    const applied = results.length - dead.length - retry.length;
    printResult(options, { applied, retry, dead }, [
      ...[...dead, ...retry].slice(0, MAX_REASONS_SHOWN).map(({ id, kind, reason }) => `${id}: ${kind}: ${reason}`),
      `${applied} applied, ${retry.length} to be tried again, ${dead.length} dead`,
    ]);
    if (applied < results.length) process.exitCode = ExitCode.found;
  } finally {
    for (const session of sessions.values()) await session.then((open) => open.close()).catch(() => undefined);
  }
}

/** Takes from the queue until it is empty, or until a batch comes back of which nothing could be applied. */
async function drain(
  queueUrl: string,
  context: RunContext,
  ports: ReplayPorts,
  messagesPerSecond: number | undefined,
): Promise<ReplayResult[]> {
  const client = createSqsClient();
  const progress = createProgress('replay');
  const results: ReplayResult[] = [];
  try {
    for (;;) {
      const messages = await receiveMessages(client, queueUrl, VISIBILITY_SECONDS);
      if (messages.length === 0) return results;
      const batch = await replayMessages(
        messages.map(({ id, body }) => ({ id, body: () => resolveMessageBody(body, context.objects) })),
        ports,
        messagesPerSecond === undefined ? {} : { messagesPerSecond },
      );
      for (const [at, result] of batch.entries()) {
        const message = messages[at]!;
        // A dead one stays until the queue itself moves it to the dead letters.
        if (result.kind === 'applied') await deleteMessage(client, queueUrl, message);
        else await delayMessage(client, queueUrl, message);
      }
      results.push(...batch);
      progress.update(results.length, 0, `${results.length} messages`);
      if (batch.every((result) => result.kind !== 'applied')) return results;
    }
  } finally {
    progress.end();
  }
}

async function openSession(cluster: 'origin' | 'target', { config }: RunContext): Promise<CqlSession> {
  return createCqlSession(await resolveCluster(cluster, config[cluster]));
}
