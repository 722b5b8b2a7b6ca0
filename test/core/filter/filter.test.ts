import { expect, test } from 'vitest';
import { createFilter } from '#core/filter/filter.ts';
import { NO_FILTER_RULES, parseFilterRules } from '#core/filter/filter-rules.ts';

const tenant = 'e19206ba-c584-11e8-882a-0a580a30028e';
const tenantBytes = Uint8Array.from(Buffer.from(tenant.replaceAll('-', ''), 'hex'));
const rules = (text: string) => createFilter(parseFilterRules(text, 'filter-rules.yaml'));

test('no rules exclude nothing', () => {
  const filter = createFilter(NO_FILTER_RULES);
  expect(filter.isEmpty).toBe(true);
  expect(filter.decide('ks', 't', tenantBytes).kind).toBe('migrate');
});

test('an excluded tenant is recognised as uuid bytes, as text bytes and as a literal of any case', () => {
  const filter = rules(`tenants: { columns: [system_domain_id], exclude: [${tenant}] }`);
  expect(filter.decide('files_keyspace', 'files', tenantBytes)).toEqual({ kind: 'excluded', by: 'tenant' });
  expect(filter.decide('files_keyspace', 'files', Buffer.from(tenant)).kind).toBe('excluded');
  expect(filter.decide('files_keyspace', 'files', tenant.toUpperCase()).kind).toBe('excluded');
  const other = Uint8Array.from(tenantBytes);
  other[15] = 0;
  expect(filter.decide('files_keyspace', 'files', other).kind).toBe('migrate');
  expect(filter.decide('files_keyspace', 'files').kind).toBe('migrate');
});

test('an excluded numeric tenant is recognised in every integer width', () => {
  const filter = rules('tenants: { columns: [tenant], exclude: [300, -1] }');
  expect(filter.decide('k', 't', Uint8Array.of(0, 0, 1, 44)).kind).toBe('excluded');
  expect(filter.decide('k', 't', Uint8Array.of(1, 44)).kind).toBe('excluded');
  expect(filter.decide('k', 't', Uint8Array.of(0, 0, 0, 0, 0, 0, 1, 44)).kind).toBe('excluded');
  expect(filter.decide('k', 't', Uint8Array.of(255)).kind).toBe('excluded');
  expect(filter.decide('k', 't', Uint8Array.of(44)).kind).toBe('migrate');
});

test('with an include list every other tenant stays on the origin', () => {
  const filter = rules('tenants: { columns: [tenant], include: [a] }');
  expect(filter.decide('k', 't', 'a').kind).toBe('migrate');
  expect(filter.decide('k', 't', 'b').kind).toBe('excluded');
});

test('tables are excluded by name, by keyspace and by bare name, and an include list turns it round', () => {
  const filter = rules('tables: { exclude: [a.one, b.*, three] }');
  expect(filter.decide('a', 'one')).toEqual({ kind: 'excluded', by: 'table' });
  expect(filter.decide('a', 'two').kind).toBe('migrate');
  expect(filter.decide('b', 'any').kind).toBe('excluded');
  expect(filter.decide('z', 'three').kind).toBe('excluded');
  const including = rules('tables: { include: [a.*] }');
  expect(including.decide('a', 'x').kind).toBe('migrate');
  expect(including.decide('b', 'x').kind).toBe('excluded');
});

test('faults are reported with their paths', () => {
  expect(() => parseFilterRules('tables: { exlude: [a.b] }', 'f.yaml')).toThrow(/exlude/);
  expect(() => parseFilterRules('tenants: { exclude: [x] }', 'f.yaml')).toThrow(/tenants\.columns/);
  expect(() => parseFilterRules('tables: { exclude: ["a b"] }', 'f.yaml')).toThrow(/tables\.exclude\.0/);
  expect(() => parseFilterRules('tables: [', 'f.yaml')).toThrow(/yaml/);
});
