import { setTimeout as delay } from 'node:timers/promises';
import type { SQSClient } from '@aws-sdk/client-sqs';
import type { Command } from 'commander';
import { createSqsClient } from '#adapters/aws-clients.ts';
import { resolveCluster } from '#adapters/config-file.ts';
import { createCqlSession } from '#adapters/cql/session.ts';
import { createLogger } from '#adapters/logger.ts';
import { createSqsFailedWriteQueue } from '#adapters/sqs.ts';
import {
  deleteMessage,
  type ReceivedMessage,
  type ReplayQueues,
  receiveMessages,
  settleMessage,
} from '#adapters/sqs-consumer.ts';
import { resolveMessageBody } from '#adapters/sqs-overflow.ts';
import { describeError, UsageError } from '#core/errors.ts';
import { type ReplayOptions, type ReplayPorts, type ReplayResult, replayMessages } from '#core/jobs/replay.ts';
import type { ClusterName } from '#core/model/cluster-name.ts';
import { decodeFailedWrite } from '#core/model/failed-write.ts';
import type { CqlSession, ObjectStore } from '#core/ports.ts';
import { withCommonOptions } from './clusters.ts';
import { type CommonOptions, createProgress, ExitCode, printResult } from './output.ts';
import { openRuns, type RunContext } from './runs.ts';

/** Longer than a batch of ten can take, so that no other consumer gets them meanwhile. */
const VISIBILITY_SECONDS = 300;
const MAX_REASONS_SHOWN = 20;
const MAX_DEAD_SHOWN = 20;

interface StatusOptions extends CommonOptions {
  readonly dead?: boolean;
}

interface RunOptions extends CommonOptions {
  readonly local?: boolean;
  readonly rate?: string;
}

export function register(program: Command): void {
  const replay = program.command('replay').description('failed shadow writes: the queue and its dead letters');
  withCommonOptions(
    replay
      .command('status')
      .description('how many wait, are being applied, or are dead; exit code 1 when some are dead')
      .option('--dead', `say of up to ${MAX_DEAD_SHOWN} dead letters why they are dead; they stay where they are`),
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

async function status(options: StatusOptions): Promise<void> {
  const context = await openRuns(options.config);
  const { queue } = openQueue(context);
  const depth = await queue.depth();
  const letters = options.dead ? await queue.peekDeadLetters(MAX_DEAD_SHOWN) : [];
  const dead = await Promise.all(letters.map((letter) => describeDeadLetter(letter, context.objects)));
  const hint: string[] = [];
  if (depth.deadLetters > 0 && !options.dead) hint.push('why they are dead: ringshift replay status --dead');
  else if (depth.deadLetters > dead.length && dead.length < MAX_DEAD_SHOWN) {
    hint.push('the others are being looked at; try again in a few seconds');
  }
  printResult(options, options.dead ? { ...depth, dead } : depth, [
    `${depth.waiting} waiting, ${depth.inFlight} being applied, ${depth.deadLetters} dead letters`,
    ...dead.map(
      (one) =>
        `${one.id}: ${one.tables.join(', ') || '(unknown tables)'}: ${one.reason} (attempts: ${one.attempts ?? '?'})`,
    ),
    ...hint,
  ]);
  if (depth.deadLetters > 0) process.exitCode = ExitCode.found;
}

export interface DeadLetter {
  /** The failed write's own id, or the queue's where the message can't be read. */
  readonly id: string;
  readonly tables: readonly string[];
  readonly reason: string;
  readonly attempts: number | null;
}

/** What may be shown of a dead letter: nothing of the application's values. */
export async function describeDeadLetter(letter: ReceivedMessage, objects: ObjectStore): Promise<DeadLetter> {
  try {
    const write = decodeFailedWrite(await resolveMessageBody(letter.body, objects));
    const tables = write.tables.map(({ keyspace, table }) => `${keyspace}.${table}`);
    const givenUp = `the queue gave it up after too many deliveries; the shadow had failed with: ${write.reason ?? 'unknown'}`;
    return { id: write.id, tables, reason: letter.reason ?? givenUp, attempts: write.attempts };
  } catch (error) {
    return { id: letter.id, tables: [], reason: letter.reason ?? describeError(error), attempts: null };
  }
}

async function redrive(options: CommonOptions): Promise<void> {
  const moved = await openQueue(await openRuns(options.config)).queue.redriveDeadLetters();
  printResult(options, { moved }, [`${moved} dead letters are back in the queue`]);
}

async function run(options: RunOptions): Promise<void> {
  const rate = options.rate === undefined ? undefined : Number(options.rate);
  if (rate !== undefined && !(rate > 0)) throw new UsageError('--rate wants a number above 0');
  const context = await openRuns(options.config);
  const { queueUrl, queue } = openQueue(context);
  const { retryIntervalSecs, maxAttempts } = context.config.failedWrites;
  const queues = { queueUrl, deadLetterQueueUrl: await queue.deadLetterQueueUrl(), retryIntervalSecs };
  const sessions = new Map<ClusterName, Promise<CqlSession>>();
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
    const results = await drain(queues, context, ports, {
      maxAttempts,
      ...(rate === undefined ? {} : { messagesPerSecond: rate }),
    });
    const dead = results.filter((result) => result.kind === 'dead');
    const retry = results.filter((result) => result.kind === 'retry' || result.kind === 'refused');
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
  queues: ReplayQueues,
  context: RunContext,
  ports: ReplayPorts,
  options: ReplayOptions,
): Promise<ReplayResult[]> {
  const client = createSqsClient();
  const progress = createProgress('replay');
  const results: ReplayResult[] = [];
  try {
    for (;;) {
      const messages = await receiveMessages(client, queues.queueUrl, VISIBILITY_SECONDS);
      if (messages.length === 0) return results;
      const replayed = await replayMessages(
        messages.map(({ id, body }) => ({ id, body: () => resolveMessageBody(body, context.objects) })),
        ports,
        options,
      );
      const batch: ReplayResult[] = [];
      for (const [at, result] of replayed.entries()) batch.push(await settle(client, queues, messages[at]!, result));
      results.push(...batch);
      progress.update(results.length, 0, `${results.length} messages`);
      if (batch.every((result) => result.kind !== 'applied')) return results;
    }
  } finally {
    progress.end();
  }
}

/** Resolves to the result, or to another try where the queue did not take what follows from it: the message stays. */
export async function settle(
  client: SQSClient,
  queues: ReplayQueues,
  message: ReceivedMessage,
  result: ReplayResult,
): Promise<ReplayResult> {
  try {
    if (await settleMessage(client, queues, message, result)) await deleteMessage(client, queues.queueUrl, message);
    return result;
  } catch (error) {
    // It comes back by itself when its visibility time-out ends.
    return { kind: 'retry', id: result.id, reason: `neither sent again, buried nor deleted: ${describeError(error)}` };
  }
}

async function openSession(cluster: ClusterName, { config }: RunContext): Promise<CqlSession> {
  return createCqlSession(await resolveCluster(cluster, config[cluster]));
}
