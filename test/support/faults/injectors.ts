/** Does to the world what a plan says, and undoes it. Whatever fails here is a fault of the bed, not of the product. */
import { readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { startNode, stopNode } from '../../../infra/local/cassandra-node.ts';
import { testEnvironment } from '../../../infra/local/environment.ts';
import { runCommand } from '../../../infra/local/processes.ts';
import type { AwsFault, AwsRequest } from './aws-fault-proxy.ts';
import { EPHEMERAL, type FaultWorld, PROXY_COUNT } from './fault-world.ts';
import type { FaultKind, PlannedFault } from './plan.ts';

/** Leases are not the point: write times that go backwards are. */
const CLOCK_SHIFT_MS = 5_000;
/** In a window of lost frames, one of so many. */
const LOST_SHARE = 8;
const MAX_STARTS = 10;

type Injector = (world: FaultWorld, fault: PlannedFault, running: Injectors) => Promise<void>;

const injectors: Readonly<Record<FaultKind, Injector>> = {
  async 'kill-proxy'(world, { subject, forMs }, running) {
    await running.alone(`proxy ${subject % PROXY_COUNT}`, () => restartProxy(world, subject % PROXY_COUNT, forMs));
  },
  async 'clock-back'(world, fault, running) {
    await shiftClock(world, fault, running, -CLOCK_SHIFT_MS);
  },
  async 'clock-forward'(world, fault, running) {
    await shiftClock(world, fault, running, CLOCK_SHIFT_MS);
  },
  async vanish(world, { forMs }, running) {
    await running.alone(`proxy ${EPHEMERAL}`, async () => {
      await world.proxies[EPHEMERAL]!.kill();
      rmSync(world.journalOf(EPHEMERAL), { recursive: true, force: true });
      await restartProxy(world, EPHEMERAL, forMs);
    });
  },
  async 'kill-node'(world, { forMs }, running) {
    await running.alone('target', async () => {
      await stopNode(testEnvironment.target, { hard: true });
      await sleep(forMs);
      await startNode(testEnvironment.target, { java: world.java, keepData: true });
    });
  },
  async 'kill-function'() {
    const emulator = readFileSync(join(testEnvironment.aws.folder, 'pid'), 'utf8').trim();
    const { stdout } = await runCommand('pgrep', ['-P', emulator]);
    for (const pid of stdout.split('\n').filter((line) => line !== '')) {
      const { stdout: command } = await runCommand('ps', ['-o', 'command=', '-p', pid]);
      if (command.includes('node')) signal(Number(pid));
    }
  },
  async reset(world, { subject, forMs }, running) {
    const relay = subject % 3 === 0 ? world.originRelay : world.targetRelay;
    await running.alone(subject % 3 === 0 ? 'origin relay' : 'target relay', async () => {
      await relay.cut();
      await sleep(forMs);
      await relay.restore();
    });
  },
  async freeze(world, { subject, forMs }, running) {
    const relay = subject % 4 === 0 ? world.originRelay : world.targetRelay;
    await running.alone(subject % 4 === 0 ? 'origin relay' : 'target relay', async () => {
      relay.mute();
      await sleep(forMs);
      relay.unmute();
    });
  },
  async lose(world, { subject, forMs }, running) {
    await running.alone('copies', async () => {
      let count = subject;
      world.copies.fateOf = () => {
        count++;
        if (count % LOST_SHARE !== 0) return {};
        return { lose: count % (2 * LOST_SHARE) === 0 ? 'request' : 'reply' };
      };
      await sleep(forMs);
      world.copies.fateOf = () => ({});
    });
  },
  async sqs(world, { subject, forMs }, running) {
    await running.away(world, forMs, ({ service }) => (service === 'sqs' ? awsFault(subject) : {}));
  },
  async s3(world, { subject, forMs }, running) {
    await running.away(world, forMs, ({ service }) => (service === 's3' ? awsFault(subject) : {}));
  },
  async 'ledger-away'(world, { forMs }, running) {
    await running.away(world, forMs, ({ service }) => (service === 's3' ? { reset: 'before' } : {}));
  },
  async 'disk-full'(world, { forMs }, running) {
    await running.alone('disk', async () => {
      world.smallDisk?.fill();
      await sleep(forMs);
      world.smallDisk?.empty();
    });
  },
};

function awsFault(subject: number): AwsFault {
  const faults: readonly AwsFault[] = [
    { answer: 500 },
    { answer: 503, delayMs: 100 },
    { delayMs: 1_500 },
    { reset: 'before' },
    { reset: 'after' },
  ];
  return faults[subject % faults.length]!;
}

function signal(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch {
    // It has ended by itself.
  }
}

async function shiftClock(
  world: FaultWorld,
  { subject, forMs }: PlannedFault,
  running: Injectors,
  offsetMs: number,
): Promise<void> {
  const index = subject % PROXY_COUNT;
  await running.alone(`proxy ${index}`, async () => {
    world.shiftClock(index, offsetMs);
    // The clock alone, or the clock of a process that begins anew.
    if (subject % 2 === 0) await restartProxy(world, index, 0);
    await sleep(forMs);
    world.shiftClock(index, 0);
    // A host that vanished now would take along what it knew of write times that are ahead. Elsewhere the limit of the skew,
    // which is wide here, keeps a proxy from giving such.
    if (index === EPHEMERAL && offsetMs > 0) await sleep(offsetMs);
  });
}

async function restartProxy(world: FaultWorld, index: number, afterMs: number): Promise<void> {
  const proxy = world.proxies[index]!;
  await proxy.kill();
  await sleep(afterMs);
  for (let attempt = 1; ; attempt++) {
    try {
      return await proxy.start();
    } catch (error) {
      // Other faults are under way: whoever looks after it starts it again.
      await proxy.kill();
      if (attempt === MAX_STARTS) throw error;
    }
  }
}

export interface RunningFault extends PlannedFault {
  readonly beganAt: string;
}

/** Runs a plan; faults of one thing wait for each other, all others overlap. */
export class Injectors {
  /** What was done, in order. */
  readonly done: RunningFault[] = [];
  /** Kinds that this machine does not permit. */
  readonly skipped: FaultKind[] = [];
  readonly #world: FaultWorld;
  readonly #turns = new Map<string, Promise<unknown>>();
  readonly #away = new Set<(request: AwsRequest) => AwsFault>();

  constructor(world: FaultWorld) {
    this.#world = world;
  }

  /** Resolves when the last fault is undone. */
  async run(plan: readonly PlannedFault[]): Promise<void> {
    const beganMs = Date.now();
    await Promise.all(
      plan.map(async (fault) => {
        await sleep(Math.max(0, fault.atMs - (Date.now() - beganMs)));
        if (fault.kind === 'disk-full' && this.#world.smallDisk === undefined) {
          if (!this.skipped.includes(fault.kind)) this.skipped.push(fault.kind);
          return;
        }
        this.done.push({ ...fault, beganAt: new Date().toISOString() });
        await injectors[fault.kind](this.#world, fault, this);
      }),
    );
  }

  alone(subject: string, work: () => Promise<void>): Promise<void> {
    const turn = (this.#turns.get(subject) ?? Promise.resolve()).then(work);
    this.#turns.set(
      subject,
      turn.catch(() => undefined),
    );
    return turn;
  }

  /** Every request to AWS meets the first fault that anybody has for it. */
  async away(world: FaultWorld, forMs: number, faultOf: (request: AwsRequest) => AwsFault): Promise<void> {
    this.#away.add(faultOf);
    world.aws.faultOf = (request) => {
      for (const each of this.#away) {
        const fault = each(request);
        if (Object.keys(fault).length > 0) return fault;
      }
      return {};
    };
    await sleep(forMs);
    this.#away.delete(faultOf);
  }
}
