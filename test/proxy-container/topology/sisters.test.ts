import fc from 'fast-check';
import { afterEach, expect, test } from 'vitest';
import { createLogger } from '#adapters/logger.ts';
import { migrationConfigSchema } from '#core/config/schema.ts';
import { hostAt, hostIdOf, tokensOf } from '../../../proxy-container/src/topology/host.ts';
import { type HostsChange, Sisters } from '../../../proxy-container/src/topology/sisters.ts';
import { eventually } from '../../support/eventually.ts';

const cluster = { contactPoints: ['127.0.0.1'] };
const parse = (topology: object) =>
  migrationConfigSchema.parse({ origin: cluster, target: cluster, proxy: { topology } }).proxy.topology;
const logger = createLogger('test', 'silent');
const started: Sisters[] = [];

afterEach(async () => {
  await Promise.all(started.splice(0).map((one) => one.stop()));
});

function sistersOf(topology: object, more: Partial<ConstructorParameters<typeof Sisters>[0]> = {}): Sisters {
  const base = { config: parse(topology), port: 9042, logger, onChange: () => undefined, ownAddresses: () => [] };
  const sisters = new Sisters({ ...base, ...more });
  started.push(sisters);
  return sisters;
}

test('without a list a proxy shows itself alone, wherever it was reached', () => {
  const sisters = sistersOf({});
  expect(sisters.hosts).toEqual([]);
  const loopback = hostAt('::1', 9042);
  expect(sisters.self(loopback)).toBe(loopback);
});

test('a list takes IPv4 and IPv6, with ports and without, each host once and in one order', () => {
  const sisters = sistersOf({ sisters: ['10.0.0.2', 'fd00::1', '[fd00::1]:9043', '10.0.0.10:9050', '10.0.0.2:9042'] });
  expect(sisters.hosts).toEqual([
    { address: '10.0.0.2', port: 9042 },
    { address: '10.0.0.10', port: 9050 },
    { address: 'fd00:0:0:0:0:0:0:1', port: 9042 },
    { address: 'fd00:0:0:0:0:0:0:1', port: 9043 },
  ]);
});

test('a host name in the list, or a list and a service, is a fault that says so', () => {
  expect(() => parse({ sisters: ['proxy-0.example'] })).toThrow('is no IP address');
  expect(() => parse({ sisters: ['10.0.0.1'], service: 'proxies' })).toThrow('not both');
});

test('a proxy is the host that the client reached, else the one of this machine, else what was reached', () => {
  const topology = { sisters: ['10.0.0.1', '10.0.0.2'] };
  const sisters = sistersOf(topology, { ownAddresses: () => ['10.0.0.2'] });
  expect(sisters.self(hostAt('10.0.0.1', 9042)).address).toBe('10.0.0.1');
  expect(sisters.self(hostAt('::ffff:10.0.0.1', 19_042))).toEqual({ address: '10.0.0.1', port: 9042 });
  expect(sisters.self(hostAt('127.0.0.1', 9042)).address).toBe('10.0.0.2');
  expect(sistersOf(topology).self(hostAt('127.0.0.1', 9042)).address).toBe('127.0.0.1');
  const named = sistersOf({ ...topology, address: '10.0.0.1' });
  expect(named.self(hostAt('127.0.0.1', 9042)).address).toBe('10.0.0.1');
});

test('the addresses of a service are followed; one is gone when three answers lack it, and a failure changes nothing', async () => {
  const answers: (readonly string[] | Error)[] = [
    ['10.0.0.1', 'fd00::2'],
    ['10.0.0.1', 'fd00::2', '10.0.0.3'],
    new Error('ENOTFOUND'),
    [],
    ['10.0.0.1', '10.0.0.3', 'fe80::1%eth0', 'no-address'],
    ['fe80::1%eth0'],
    ['10.0.0.1', '10.0.0.3'],
    ['10.0.0.1', '10.0.0.3'],
  ];
  const changes: HostsChange[] = [];
  let looks = 0;
  const lookup = async () => {
    const answer = answers[Math.min(looks++, answers.length - 1)]!;
    if (answer instanceof Error) throw answer;
    return answer;
  };
  const config = { ...parse({ service: 'proxies', port: 19_042 }), refreshSecs: 0.01 };
  const sisters = sistersOf({}, { config, lookup, onChange: (change) => changes.push(change) });
  await sisters.start();
  expect(sisters.hosts).toHaveLength(2);
  await eventually(() => expect(changes).toHaveLength(3));
  expect(looks).toBeGreaterThanOrEqual(8);
  expect(
    changes.map(({ added, removed }) => [added, removed].map((hosts) => hosts.map(({ address }) => address))),
  ).toEqual([
    [['10.0.0.1', 'fd00:0:0:0:0:0:0:2'], []],
    [['10.0.0.3'], []],
    [[], ['fd00:0:0:0:0:0:0:2']],
  ]);
  expect(sisters.hosts.every(({ port }) => port === 19_042)).toBe(true);
});

test.each([
  ['org.apache.cassandra.dht.Murmur3Partitioner', -(2n ** 63n), 2n ** 63n - 1n],
  ['org.apache.cassandra.dht.RandomPartitioner', 0n, 2n ** 127n],
])(
  'tokens of %s are on its ring, unique over the instances, and no instance owns much more than another',
  (partitioner, low, high) => {
    const hosts = fc.uniqueArray(fc.ipV4(), { minLength: 2, maxLength: 6 });
    fc.assert(
      fc.property(hosts, (addresses) => {
        const ring = addresses.flatMap((address) => {
          const tokens = tokensOf(hostIdOf(hostAt(address, 9042)), partitioner);
          expect(tokens).toEqual([...tokens].sort());
          return tokens.map((token) => ({ address, token: BigInt(token) }));
        });
        expect(new Set(ring.map(({ token }) => token)).size).toBe(128 * addresses.length);
        ring.sort((a, b) => (a.token < b.token ? -1 : 1));
        const owned = new Map<string, number>();
        let before = ring.at(-1)!.token - (high - low);
        for (const { address, token } of ring) {
          expect(token).toBeGreaterThan(low);
          expect(token).toBeLessThanOrEqual(high);
          owned.set(address, (owned.get(address) ?? 0) + Number(((token - before) * 1_000_000n) / (high - low)) / 1e6);
          before = token;
        }
        for (const share of owned.values()) expect(share * addresses.length).toBeLessThan(1.6);
      }),
      { numRuns: 30 },
    );
  },
);
