import { describe, expect, test } from 'vitest';
import { encodeInt, encodeList, encodeText, encodeUuid } from '#core/cql/value-codec.ts';
import { createFilter } from '#core/filter/filter.ts';
import { parseFilterRules } from '#core/filter/filter-rules.ts';
import type { BoundValue } from '#core/model/cql-request.ts';
import { classify } from '#core/statement/classify.ts';
import { exclusionOf } from '../../../proxy-container/src/requests/tenant.ts';

const filterOf = (ids: string) =>
  createFilter(parseFilterRules(`tenants: { columns: [tenant], exclude: [${ids}] }`, 'f.yaml'));
const judge = (ids: string, text: string, values: readonly BoundValue[] = [], names?: readonly string[]) =>
  exclusionOf(filterOf(ids), classify(text), 'ks', (index, name) => {
    const named = names === undefined || name === undefined ? index : names.indexOf(name);
    return values[named];
  });

const UUID = 'e19206ba-c584-11e8-882a-0a580a30028e';

/** Rule, its literal in CQL, its bytes; and those of another tenant. */
const TYPES: readonly [
  type: string,
  rule: string,
  literal: string,
  bytes: Buffer,
  other: string,
  otherBytes: Buffer,
][] = [
  ['uuid', UUID, UUID.toUpperCase(), encodeUuid(UUID), UUID.replace('e1', 'e2'), encodeUuid(UUID.replace('e1', 'e2'))],
  ['text', 'acme', "'acme'", encodeText('acme'), "'Acme'", encodeText('Acme')],
  ['text with quotes', '"it\'s"', "'it''s'", encodeText("it's"), "'its'", encodeText('its')],
  ['text in dollars', 'acme', '$$acme$$', encodeText('acme'), '$$other$$', encodeText('other')],
  ['a uuid in a text', UUID, `'${UUID}'`, encodeText(UUID), "'x'", encodeText('x')],
  ['int', '42', '042', encodeInt(42), '43', encodeInt(43)],
  ['negative int', '-7', '-7', encodeInt(-7), '7', encodeInt(7)],
  ['tinyint', '5', '(tinyint) 5', Buffer.of(5), '6', Buffer.of(6)],
  [
    'bigint',
    '"9007199254740993"',
    '9007199254740993',
    bigint(9007199254740993n),
    '9007199254740992',
    bigint(9007199254740992n),
  ],
  ['varint of three bytes', '70000', '70000', Buffer.of(1, 0x11, 0x70), '70001', Buffer.of(1, 0x11, 0x71)],
  ['blob', '"0xdeadbeef"', '0xDEADBEEF', Buffer.from('deadbeef', 'hex'), '0xdeadbeee', Buffer.from('deadbeee', 'hex')],
  ['boolean', '"true"', 'TRUE', Buffer.of(1), 'false', Buffer.of(0)],
];

function bigint(value: bigint): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeBigInt64BE(value);
  return bytes;
}

describe.each(TYPES)('a tenant of type %s', (_, rule, literal, bytes, other, otherBytes) => {
  const places: readonly [text: string, before: readonly BoundValue[], after: readonly BoundValue[]][] = [
    ['INSERT INTO t (tenant, id, v) VALUES (%, ?, ?)', [], [encodeInt(1), null]],
    ['INSERT INTO t (id, v, tenant) VALUES (?, ?, %)', [encodeInt(1), undefined], []],
    ['INSERT INTO t (id, tenant) VALUES (?, %) IF NOT EXISTS', [encodeInt(1)], []],
    ['UPDATE t USING TTL ? SET v = ? WHERE id = ? AND tenant = %', [encodeInt(9), encodeText('v'), encodeInt(1)], []],
    ['UPDATE t SET v = ?, m[?] = ? WHERE tenant = % AND id = ?', [null, null, null], [encodeInt(1)]],
    ['UPDATE t SET v = ? WHERE (tenant, id) = (%, ?)', [null], [encodeInt(1)]],
    ['DELETE FROM t WHERE tenant = % AND id > ?', [], [encodeInt(1)]],
    ['DELETE v FROM t WHERE tenant IN (%)', [], []],
    ['SELECT v FROM t WHERE tenant = %', [], []],
    ['BEGIN BATCH USING TIMESTAMP ? UPDATE t SET v = ? WHERE tenant = % APPLY BATCH', [null, null], []],
  ];

  test.each(places)('is found in %s', (text, before, after) => {
    for (const [value, wire, verdict] of [
      [literal, bytes, 'excluded'],
      [other, otherBytes, 'migrate'],
    ] as const) {
      // Literals are no markers, so what is bound behind them moves up.
      expect(
        judge(
          rule,
          text.replace('%', () => value),
          [...before, ...after],
        ),
        'as a literal',
      ).toBe(verdict);
      expect(judge(rule, text.replace('%', '?'), [...before, wire, ...after]), 'bound by position').toBe(verdict);
      expect(judge(rule, text.replace('%', '(ascii)?'), [...before, wire, ...after]), 'behind a cast').toBe(verdict);
    }
  });

  test('is found by its name, in lists, and among others', () => {
    const named = 'UPDATE t SET v = :v WHERE id = :id AND tenant = :"The Tenant"';
    expect(judge(rule, named, [bytes, null, null], ['The Tenant', 'v', 'id'])).toBe('excluded');
    expect(judge(rule, named, [otherBytes, bytes, bytes], ['The Tenant', 'v', 'id'])).toBe('migrate');
    expect(judge(rule, 'DELETE FROM t WHERE tenant IN ?', [encodeList([bytes, bytes])])).toBe('excluded');
    expect(judge(rule, 'DELETE FROM t WHERE tenant IN ?', [encodeList([bytes, otherBytes])])).toBe('mixed');
    expect(judge(rule, `DELETE FROM t WHERE tenant IN (${literal}, ?)`, [otherBytes])).toBe('mixed');
    expect(judge(rule, `DELETE FROM t WHERE id = 1 AND (tenant, x) IN ((?, 1), (${other}, ?))`, [bytes])).toBe('mixed');
    expect(judge(rule, `DELETE FROM t WHERE id = 1 AND (x, tenant) IN ((1, ?), (2, ${literal}))`, [bytes])).toBe(
      'excluded',
    );
  });
});

describe('INSERT JSON', () => {
  test.each([
    [UUID, `{"id": 1, "tenant": "${UUID}"}`, 'excluded'],
    [UUID, `{"TENANT": "${UUID.toUpperCase()}"}`, 'excluded'],
    [UUID, `{"\\"tenant\\"": "${UUID}"}`, 'excluded'],
    [UUID, `{"\\"Tenant\\"": "${UUID}"}`, 'migrate'],
    [UUID, `{"other": {"tenant": "${UUID}"}}`, 'migrate'],
    ['42', '{"tenant": 42}', 'excluded'],
    ['"9007199254740993"', '{"tenant": 9007199254740993}', 'excluded'],
    ['"9007199254740993"', '{"tenant": 9007199254740992}', 'migrate'],
    ['acme', '{"tenant": "acme", "v": "it is"}', 'excluded'],
    ['acme', '{"tenant": null}', 'migrate'],
    ['acme', 'no JSON at all', 'migrate'],
    ['acme', '[1]', 'migrate'],
  ])('by the rule %s, %s is judged as a text and as a bound value', (rule, document, verdict) => {
    expect(judge(rule, `INSERT INTO t JSON '${document.replaceAll("'", "''")}'`)).toBe(verdict);
    expect(judge(rule, `INSERT INTO t JSON $$${document}$$ DEFAULT UNSET`)).toBe(verdict);
    expect(judge(rule, 'INSERT INTO t JSON ?', [encodeText(document)])).toBe(verdict);
    expect(judge(rule, 'INSERT INTO t JSON :doc IF NOT EXISTS', [encodeText(document)], ['doc'])).toBe(verdict);
  });
});

test.each([
  ['INSERT INTO t (tenant) VALUES (blobAsUuid(?))', 'mixed'],
  ['DELETE FROM t WHERE id = 1 AND (tenant, x) IN ?', 'mixed'],
  ['DELETE FROM t WHERE id = 1 AND (tenant, x) = ?', 'mixed'],
  ['DELETE FROM t WITH tenant = 1', 'mixed'],
  ['INSERT INTO t (tenant) VALUES (uuid())', 'migrate'],
  ['INSERT INTO t (id) VALUES (1)', 'migrate'],
])('%s, which does not tell the tenant, is %s', (text, verdict) => {
  expect(judge(UUID, text, [encodeUuid(UUID)])).toBe(verdict);
});
