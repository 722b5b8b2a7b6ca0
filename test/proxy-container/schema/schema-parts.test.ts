import { expect, test } from 'vitest';
import { createLogger } from '#adapters/logger.ts';
import { encodeInt, encodeList, encodeText } from '#core/cql/value-codec.ts';
import { createFilter } from '#core/filter/filter.ts';
import { NO_FILTER_RULES } from '#core/filter/filter-rules.ts';
import { Counters } from '../../../proxy-container/src/counters/counters.ts';
import { SchemaAgreement } from '../../../proxy-container/src/schema/schema-agreement.ts';
import { SchemaWatch } from '../../../proxy-container/src/schema/schema-watch.ts';
import { supportOf } from '../../../proxy-container/src/topology/support.ts';
import type { NodeSchema } from '../../../proxy-container/src/upstream/control-connection.ts';

const logger = createLogger('test', 'silent');

/** A cluster of which a test says everything. */
function fakeCluster() {
  return {
    state: 'up' as 'up' | 'down',
    nodes: [{ host: undefined, version: 'a' }] as NodeSchema[],
    alive: new Set<string>(),
    types: [['ks', 'address', ['street'], ['text']]] as (string | string[])[][],
    columns: [['ks', 't', 'id', 'partition_key', 'none', 'int']],
    reads: 0,
    async nodeSchemas() {
      return this.nodes;
    },
    async isAlive(host: string | undefined) {
      return host !== undefined && this.alive.has(host);
    },
    async schemaRows(table: string) {
      this.reads++;
      const text = (value: string | string[]) =>
        typeof value === 'string' ? encodeText(value) : encodeList(value.map(encodeText));
      if (table === 'types') return this.types.map((row) => row.map(text));
      if (table !== 'columns') return [];
      return this.columns.map(([keyspace, name, column, kind, order, type]) => [
        ...[keyspace!, name!, column!, kind!].map(encodeText),
        encodeInt(0),
        ...[order!, type!].map(encodeText),
      ]);
    },
  };
}

test('nodes that differ are not agreed, one that is down is not waited for, and the version tells of both clusters', async () => {
  const [origin, target] = [fakeCluster(), fakeCluster()];
  const agreement = new SchemaAgreement({ controls: { origin, target }, logger });
  expect(await agreement.agree('origin', 0)).toBe(true);
  const before = agreement.version;
  origin.nodes = [...origin.nodes, { host: '10.0.0.2', version: 'b' }];
  origin.alive.add('10.0.0.2');
  expect(await agreement.agree('origin', 1500)).toBe(false);
  expect(agreement.isSettled).toBe(false);
  origin.alive.clear();
  expect(await agreement.agree('origin', 20_000)).toBe(true);
  expect([agreement.isSettled, agreement.version]).toEqual([true, before]);
  target.nodes = [{ host: undefined, version: 'c' }];
  await agreement.agree('target', 0);
  expect(agreement.version).not.toBe(before);
});

test('however many wait for agreement, the cluster is asked once for all of them', async () => {
  const [origin, target] = [fakeCluster(), fakeCluster()];
  const agreement = new SchemaAgreement({ controls: { origin, target }, logger });
  let asked = 0;
  const answer = Promise.withResolvers<NodeSchema[]>();
  origin.nodeSchemas = () => {
    asked++;
    return answer.promise;
  };
  agreement.unsettle('origin');
  const waiting = Array.from({ length: 50 }, () => agreement.settled(60_000));
  answer.resolve(origin.nodes);
  expect(await Promise.all(waiting)).toEqual(waiting.map(() => true));
  expect(asked).toBe(1);
  agreement.unsettle('origin');
  expect(await agreement.settled(60_000)).toBe(true);
  expect(asked).toBe(2);
});

test('who comes later waits no longer than it asked for, however long the one before it may wait', async () => {
  const [origin, target] = [fakeCluster(), fakeCluster()];
  const agreement = new SchemaAgreement({ controls: { origin, target }, logger });
  origin.nodes = [...origin.nodes, { host: '10.0.0.2', version: 'b' }];
  origin.alive.add('10.0.0.2');
  agreement.unsettle('origin');
  const patient = agreement.agree('origin', 600_000);
  expect(await agreement.settled(50)).toBe(false);
  origin.nodes = origin.nodes.slice(0, 1);
  expect(await patient).toBe(true);
});

test('a cluster that is away is waited for by nobody', async () => {
  const [origin, target] = [fakeCluster(), fakeCluster()];
  const agreement = new SchemaAgreement({ controls: { origin, target }, logger });
  target.state = 'down';
  agreement.unsettle('target');
  expect(await agreement.settled(60_000)).toBe(false);
  expect(agreement.isSettled).toBe(true);
});

test('what differs between the clusters is counted, read again only after a change, and forgotten with the shadow', async () => {
  const [origin, target] = [fakeCluster(), fakeCluster()];
  const controls = { origin, target };
  const counters = new Counters();
  let isDual = true;
  let rules = NO_FILTER_RULES;
  const watch = new SchemaWatch({
    controls,
    agreement: new SchemaAgreement({ controls, logger }),
    counters,
    filter: () => createFilter(rules),
    isDual: () => isDual,
    logger,
  });
  await watch.look();
  await watch.look();
  expect([counters.schemaDrift, origin.reads]).toEqual([0, 6]);
  target.nodes = [{ host: undefined, version: 'd' }];
  target.columns.push(
    ['ks', 't', 'v', 'regular', 'none', 'text'],
    ['foreign', 'own', 'id', 'partition_key', 'none', 'int'],
  );
  target.types = [['ks', 'address', ['street'], ['int']]];
  await watch.look();
  expect(counters.schemaDrift).toBe(2);
  rules = { ...NO_FILTER_RULES, tables: { exclude: ['ks.t'], include: [] } };
  await watch.look();
  expect(counters.schemaDrift).toBe(1);
  isDual = false;
  await watch.look();
  expect(counters.schemaDrift).toBe(0);
});

test('only what both clusters have is offered, and no more than v4 while one was never seen', () => {
  const offer = (maxVersion: number, cqlVersion: string, compressions: string[] | null) => ({
    maxVersion,
    cqlVersions: [cqlVersion],
    compressions,
  });
  const support = supportOf([offer(5, '3.4.7', ['snappy', 'lz4']), offer(4, '3.4.6', ['lz4'])]);
  expect(support.maxVersion).toBe(4);
  expect([...support.options]).toEqual([
    ['CQL_VERSION', ['3.4.6']],
    ['COMPRESSION', ['lz4']],
    ['PROTOCOL_VERSIONS', ['3/v3', '4/v4']],
  ]);
  const alone = supportOf([offer(5, '3.4.7', null), undefined]);
  expect([alone.maxVersion, alone.options.get('COMPRESSION')]).toEqual([4, ['lz4', 'snappy']]);
  expect(supportOf([offer(5, '3.4.7', null), offer(5, '3.4.7', null)]).maxVersion).toBe(5);
});
