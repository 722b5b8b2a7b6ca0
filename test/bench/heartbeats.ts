/**
 * What the heartbeats of many proxies cost on S3: requests by kind for each instance and minute, counted in the client of
 * the real store, and their price. Some instances are whole proxies between stub clusters, the others the parts of them
 * that talk to the ledger; `away`: copies fail all the time.
 *
 *   npm run bench:heartbeats -- [--instances 300] [--whole 4] [--minutes 2] [--poll-ms 1000] [--heartbeat-secs 5] [--away]
 */
import { createHash } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import type { S3Client } from '@aws-sdk/client-s3';
import { createS3LedgerStore } from '#adapters/ledger-s3.ts';
import { createLogger } from '#adapters/logger.ts';
import { createLedger, type Ledger } from '#core/ledger/ledger.ts';
import { PhaseWatch } from '../../proxy-container/src/phase/phase-watch.ts';
import { Registration } from '../../proxy-container/src/phase/registration.ts';
import { startTestProxy } from '../support/in-process-proxy.ts';

/** us-east-1, S3 Standard, list prices of November 2026 in dollars for a request; DELETE is free. */
const PRICES: Readonly<Record<string, number>> = { PUT: 5e-6, LIST: 5e-6, GET: 4e-7, HEAD: 4e-7, DELETE: 0 };
const MINUTES_OF_MONTH = 30 * 24 * 60;
/** As far away as S3 is. */
const LATENCY_MS = 20;

const { values: given } = parseArgs({
  options: {
    instances: { type: 'string', default: '300' },
    whole: { type: 'string', default: '4' },
    minutes: { type: 'string', default: '2' },
    'poll-ms': { type: 'string', default: '1000' },
    'heartbeat-secs': { type: 'string', default: '5' },
    away: { type: 'boolean', default: false },
  },
});
const minutes = Number(given.minutes);
const lease = { pollMs: Number(given['poll-ms']), heartbeatSecs: Number(given['heartbeat-secs']) };
const logger = createLogger('bench', 'error');

/** All that is in the bucket. */
const objects = new Map<string, string>();
type Counts = Map<string, number>;
const counted = { whole: new Map() as Counts, parts: new Map() as Counts };

interface Input {
  readonly Key: string;
  readonly Prefix?: string;
  readonly Body?: string;
  readonly IfMatch?: string;
  readonly IfNoneMatch?: string;
}

const etagOf = (text: string): string => `"${createHash('md5').update(text).digest('hex')}"`;

function failure(httpStatusCode: number, name: string): Error {
  return Object.assign(new Error(name), { name, $metadata: { httpStatusCode, attempts: 1 } });
}

/** The client of one instance: the bucket in memory, and each request counted by its kind. */
function countingClient(counts: Counts): S3Client {
  const answer = (kind: string, { Key, Prefix = '', Body = '', IfMatch, IfNoneMatch }: Input): object => {
    const found = objects.get(Key);
    switch (kind) {
      case 'LIST':
        return { Contents: [...objects.keys()].filter((key) => key.startsWith(Prefix)).map((key) => ({ Key: key })) };
      case 'PUT':
        if (IfNoneMatch !== undefined && found !== undefined) throw failure(412, 'PreconditionFailed');
        if (IfMatch !== undefined && (found === undefined || etagOf(found) !== IfMatch)) {
          throw failure(found === undefined ? 404 : 412, 'PreconditionFailed');
        }
        objects.set(Key, Body);
        return { ETag: etagOf(Body) };
      case 'DELETE':
        objects.delete(Key);
        return {};
      default:
        if (found === undefined) throw failure(404, 'NoSuchKey');
        return { ETag: etagOf(found), Body: { transformToString: async () => found } };
    }
  };
  const kinds: Readonly<Record<string, string>> = {
    GetObjectCommand: 'GET',
    HeadObjectCommand: 'HEAD',
    PutObjectCommand: 'PUT',
    ListObjectsV2Command: 'LIST',
    DeleteObjectCommand: 'DELETE',
  };
  const client = {
    async send(command: { readonly input: Input }): Promise<object> {
      const kind = kinds[command.constructor.name] ?? command.constructor.name;
      if (isCounting) {
        const name = `${kind} ${(command.input.Key ?? `${command.input.Prefix}`).replace(/^ledger\//, '').replace(/\/.*/, '/…')}`;
        counts.set(name, (counts.get(name) ?? 0) + 1);
      }
      await sleep(LATENCY_MS);
      return answer(kind, command.input);
    },
    destroy: () => undefined,
  };
  return client as unknown as S3Client;
}

let isCounting = false;
const ledgerOf = (counts: Counts): Ledger =>
  createLedger(createS3LedgerStore(countingClient(counts), 'bucket', 'ledger/'));

async function startParts(instance: string): Promise<PhaseWatch> {
  const ledger = ledgerOf(counted.parts);
  const registration = new Registration({ ledger, instance, processId: instance, stopsWithLease: false, logger });
  const watch = new PhaseWatch({
    ledger: registration.ledger,
    ...{ instance, logger, lease },
    counters: () => ({ writes: 1 }),
    facts: () => (given.away ? { lastShadowFailureAt: { target: new Date().toISOString() } } : {}),
    onAct: () => undefined,
    beforeHandOver: async () => true,
    onFenced: (error) => {
      throw error;
    },
  });
  await watch.begin((await ledger.readPhase())!);
  watch.start();
  return watch;
}

await ledgerOf(counted.parts).initPhase('dual-async', 'bench', new Date());
const whole = [];
for (let index = 0; index < Number(given.whole); index++) {
  const instance = `whole-${index}`;
  whole.push(await startTestProxy({ instance, lease }, { ledger: ledgerOf(counted.whole) }));
}
const parts: PhaseWatch[] = [];
for (let index = 0; index < Number(given.instances) - whole.length; index++) {
  parts.push(await startParts(`part-${index}`));
}
isCounting = true;
await sleep(minutes * 60_000);
isCounting = false;

let failed = false;
for (const [name, count, counts] of [
  ['whole proxies', whole.length, counted.whole],
  ['their parts', parts.length, counted.parts],
] as const) {
  if (count === 0) continue;
  let dollars = 0;
  process.stdout.write(`${count} ${name}, requests for each instance and minute:\n`);
  for (const [request, total] of [...counts].sort(([, a], [, b]) => b - a)) {
    const perMinute = total / count / minutes;
    const price = perMinute * MINUTES_OF_MONTH * PRICES[request.split(' ')[0]!]!;
    dollars += price;
    process.stdout.write(
      `  ${request.padEnd(28)} ${perMinute.toFixed(2).padStart(8)}   $ ${price.toFixed(3)} a month\n`,
    );
  }
  failed ||= counts.size === 0;
  process.stdout.write(`  together                                $ ${dollars.toFixed(2)} for an instance and month\n`);
}
const computed = (1.0368 * 1000) / lease.pollMs + 12.96 / lease.heartbeatSecs;
process.stdout.write(`computed from the settings: $ ${computed.toFixed(2)}\n`);
for (const watch of parts) void watch.stop(true);
for (const proxy of whole) await proxy.stop();
process.exit(failed ? 1 : 0);
