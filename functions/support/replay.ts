/** What the two functions of the replay share: the queue, the breaker, and how messages are applied. */

import { createSqsClient } from '#adapters/aws-clients.ts';
import { replayOptions, sleep } from '#adapters/replay-batch.ts';
import type { ReplayQueue } from '#adapters/replay-queue.ts';
import { createSqsReplayQueue } from '#adapters/sqs-consumer.ts';
import { ConfigError } from '#core/errors.ts';
import { ByteBudget } from '#core/jobs/byte-budget.ts';
import { createLagNote } from '#core/jobs/note-lag.ts';
import type { ReplayOptions, ReplayPorts } from '#core/jobs/replay.ts';
import { createBreaker } from '#core/jobs/replay-breaker.ts';
import type { Logger } from '#core/ports.ts';
import type { JobEnvironment } from './environment.ts';

export interface ReplayParts {
  readonly queue: ReplayQueue;
  readonly ports: ReplayPorts;
  readonly options: ReplayOptions;
  readonly noteLag: ReturnType<typeof createLagNote>;
}

/** What an execution environment keeps across invocations: the breaker counts over several of them. */
const kept = new WeakMap<JobEnvironment, ReplayParts>();

/** The parts of this execution environment; their log lines are of the invocation that made them. */
export function replayParts(environment: JobEnvironment, logger: Logger): ReplayParts {
  const known = kept.get(environment);
  if (known !== undefined) return known;
  const { config, ledger, clock, objects, deadLetterQueueUrl } = environment;
  const { queueUrl, replayPerSecond, replayConcurrency } = config.failedWrites;
  if (queueUrl === null) {
    throw new ConfigError('RINGSHIFT_CONFIG', [{ path: 'failedWrites.queueUrl', message: 'is not set; deploy again' }]);
  }
  const parts: ReplayParts = {
    queue: createSqsReplayQueue({ client: createSqsClient(), queueUrl, overflow: objects, deadLetterQueueUrl }),
    ports: {
      openSession: (cluster) => environment.session(cluster),
      ledger,
      clock,
      logger,
      sleep,
      breaker: createBreaker({ store: ledger.store, clock, logger }),
    },
    // Each of the calls that may run at once gets its share.
    options: {
      ...replayOptions(config, environment.filter),
      rate: new ByteBudget(replayPerSecond / replayConcurrency, clock, sleep),
    },
    noteLag: createLagNote({ store: ledger.store, clock, logger }),
  };
  kept.set(environment, parts);
  return parts;
}
