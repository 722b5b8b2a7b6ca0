import type { Command } from 'commander';
import { openReplayQueue } from '#adapters/open-queue.ts';
import type { ReplayQueue } from '#adapters/replay-queue.ts';
import { UsageError } from '#core/errors.ts';
import { changeReplayState, openBreakers, type ReplayState, readReplayState } from '#core/ledger/replay-state.ts';
import { withCommonOptions } from './clusters.ts';
import { byTable, type DeadTable, describeDeadLetter, withoutAttempts } from './dead-letters.ts';
import { whoAmI } from './open-ledger.ts';
import { type CommonOptions, ExitCode, printResult } from './output.ts';
import { runLocalReplay } from './replay-local.ts';
import { openRuns, type RunContext } from './runs.ts';

/** So many dead letters are looked at for their reasons, and so many of them are listed one by one. */
const MAX_DEAD_READ = 500;
const MAX_DEAD_SHOWN = 20;
const MAX_REASONS_SHOWN = 5;

interface StatusOptions extends CommonOptions {
  readonly dead?: boolean;
}

interface RedriveOptions extends CommonOptions {
  readonly resetAttempts?: boolean;
}

interface WhyOptions extends CommonOptions {
  readonly why: string;
}

interface RunOptions extends CommonOptions {
  readonly local?: boolean;
  readonly follow?: boolean;
  readonly rate?: string;
}

export function register(program: Command): void {
  const replay = program.command('replay').description('failed shadow writes: the queue and its dead letters');
  withCommonOptions(
    replay
      .command('status')
      .description('what waits, what holds it up, what is dead and why; exit code 1 when something is dead or held up')
      .option('--dead', `list up to ${MAX_DEAD_SHOWN} dead letters one by one; they stay where they are`),
  ).action(status);
  withCommonOptions(
    replay
      .command('redrive')
      .description(
        'put the dead letters back into the queue, after their cause is mended; exit code 1 when some are left',
      )
      .option('--reset-attempts', 'as if they had not been tried; else the next refusal makes them dead again'),
  ).action(redrive);
  const why = (command: Command) =>
    withCommonOptions(command.requiredOption('--why <text>', 'kept in the ledger, for whoever finds it so'));
  why(replay.command('pause').description('replay nothing until it is resumed, in AWS and here')).action(pause);
  why(replay.command('resume').description('go on with a replay that was paused')).action(resume);
  withCommonOptions(
    replay
      .command('run')
      .description('apply what waits in the queue from this process; exit code 1 when some could not be applied')
      .requiredOption('--local', 'in this process (in AWS the replay function does it by itself)')
      .option('--follow', 'go on with what comes, until interrupted')
      .option('--rate <writes>', 'the most writes in a second (default: failedWrites.replayPerSecond)'),
  ).action(run);
}

/** @throws UsageError where no queue is configured */
async function openQueue({ config, objects }: RunContext): Promise<ReplayQueue> {
  const queue = await openReplayQueue(config.failedWrites, objects);
  if (queue === undefined) throw new UsageError('failedWrites.queueUrl is not set, so there is no queue to look at');
  return queue;
}

async function status(options: StatusOptions): Promise<void> {
  const context = await openRuns(options.config);
  const queue = await openQueue(context);
  try {
    const [depth, state] = await Promise.all([queue.depth(), readReplayState(context.ledger.store)]);
    const found = depth.deadLetters === 0 ? [] : await queue.peekDeadLetters(MAX_DEAD_READ);
    const letters = await Promise.all(found.map((letter) => describeDeadLetter(letter, queue)));
    const tables = byTable(letters);
    const listed = options.dead ? letters.slice(0, MAX_DEAD_SHOWN) : [];
    const { origin, target, paused, lag } = state;
    printResult(
      options,
      {
        ...depth,
        lag,
        open: openBreakers(state),
        breaker: { origin: origin ?? null, target: target ?? null },
        paused,
        deadTables: tables,
        ...(options.dead ? { dead: listed } : {}),
      },
      [
        `${depth.waiting} waiting, ${depth.inFlight} being applied, ${depth.deadLetters} dead letters`,
        ...describeState(state),
        ...tables.flatMap(describeTable),
        ...listed.map(
          ({ id, tables: names, reason, attempts }) =>
            `${id}: ${names.join(', ') || '(unknown tables)'}: ${reason} (attempts: ${attempts ?? '?'})`,
        ),
        ...(letters.length < depth.deadLetters
          ? [
              `${letters.length} of the dead letters were looked at; the others are out of sight for some seconds, or too many`,
            ]
          : []),
        ...(depth.deadLetters > 0 ? ['once the cause is mended: ringshift replay redrive --reset-attempts'] : []),
      ],
    );
    if (depth.deadLetters > 0 || paused !== null || openBreakers(state).length > 0) process.exitCode = ExitCode.found;
  } finally {
    queue.close();
  }
}

function describeState(state: ReplayState): string[] {
  const { paused, lag } = state;
  return [
    ...(lag === null ? [] : [`the oldest taken at ${lag.at} was ${Math.round(lag.seconds)} s old`]),
    ...(paused === null ? [] : [`paused by ${paused.by} since ${paused.at}: ${paused.why} (ringshift replay resume)`]),
    ...openBreakers(state).map((cluster) => {
      const { since, failures, lastError, probedAt } = state[cluster]!;
      const probes = probedAt === null ? 'not probed yet' : `${failures} probes since, the last at ${probedAt}`;
      return `${cluster} does not answer since ${since}, so nothing is sent (${probes}): ${lastError}`;
    }),
  ];
}

function describeTable({ table, letters, reasons }: DeadTable): string[] {
  const all = Object.entries(reasons).sort(([, one], [, other]) => other - one);
  const more = all.length > MAX_REASONS_SHOWN ? [`  and ${all.length - MAX_REASONS_SHOWN} reasons more`] : [];
  return [
    `${table}: ${letters} dead`,
    ...all.slice(0, MAX_REASONS_SHOWN).map(([reason, count]) => `  ${count} times: ${reason}`),
    ...more,
  ];
}

async function redrive(options: RedriveOptions): Promise<void> {
  const queue = await openQueue(await openRuns(options.config));
  try {
    const edit = options.resetAttempts ? (body: string) => withoutAttempts(body, queue) : async (body: string) => body;
    const { moved, left } = await queue.redriveDeadLetters(edit);
    printResult(options, { moved, left }, [
      `${moved} dead letters are back in the queue`,
      ...(left > 0
        ? [`about ${left} are out of sight, perhaps held by somebody who looks at them; again in a minute`]
        : []),
    ]);
    if (left > 0) process.exitCode = ExitCode.found;
  } finally {
    queue.close();
  }
}

async function pause(options: WhyOptions): Promise<void> {
  const { ledger } = await openRuns(options.config);
  const paused = { by: whoAmI(), why: options.why, at: new Date().toISOString() };
  await changeReplayState(ledger.store, (state) => ({ ...state, paused }));
  printResult(options, { paused }, [
    'paused: what is being applied now ends, nothing more is begun. The queue keeps messages for 14 days',
  ]);
}

async function resume(options: WhyOptions): Promise<void> {
  const { ledger } = await openRuns(options.config);
  const resumed = { by: whoAmI(), why: options.why, at: new Date().toISOString() };
  const state = await changeReplayState(ledger.store, (found) => ({ ...found, paused: null, resumed }));
  printResult(options, { paused: null, open: openBreakers(state) }, [
    'resumed: in AWS it goes on at the next look of the breaker (failedWrites.probeSecs)',
    ...describeState(state),
  ]);
}

async function run(options: RunOptions): Promise<void> {
  const context = await openRuns(options.config);
  const rate = Number(options.rate ?? context.config.failedWrites.replayPerSecond);
  if (!(rate > 0)) throw new UsageError('--rate wants a number above 0');
  const queue = await openQueue(context);
  try {
    await runLocalReplay(queue, context, { ...options, rate });
  } finally {
    queue.close();
  }
}
