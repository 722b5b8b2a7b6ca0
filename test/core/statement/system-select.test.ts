import { expect, test } from 'vitest';
import { parseSystemSelect } from '#core/statement/system-select.ts';

test('columns, aliases, counts, relations and limits are read', () => {
  expect(
    parseSystemSelect(
      `SELECT peer AS p, count(*), COUNT(1) AS "N", count(rack) FROM "system".peers WHERE peer IN ('10.0.0.1', ?) AND rack = :r LIMIT 3 ALLOW FILTERING;`,
    ),
  ).toEqual({
    isJson: false,
    isDistinct: false,
    selectors: [
      { kind: 'column', column: 'peer', name: 'p' },
      { kind: 'count', name: 'count' },
      { kind: 'count', name: 'N' },
      { kind: 'count', column: 'rack', name: 'system.count(rack)' },
    ],
    relations: [
      {
        column: 'peer',
        operator: 'in',
        terms: [
          { kind: 'literal', token: 'string', text: '10.0.0.1' },
          { kind: 'marker', index: 0 },
        ],
      },
      { column: 'rack', operator: '=', terms: [{ kind: 'marker', index: 1, name: 'r' }] },
    ],
    limit: { kind: 'literal', token: 'number', text: '3' },
  });
});

test('JSON and DISTINCT are modifiers before a column and columns before a comma or FROM', () => {
  expect(parseSystemSelect('SELECT JSON DISTINCT peer FROM system.peers')).toMatchObject({
    isJson: true,
    isDistinct: true,
  });
  expect(parseSystemSelect('SELECT json, distinct FROM system.peers')).toMatchObject({
    isJson: false,
    isDistinct: false,
    selectors: [{ column: 'json' }, { column: 'distinct' }],
  });
});

test('IN of one marker is told from IN of a list', () => {
  expect(parseSystemSelect('SELECT * FROM system.peers WHERE peer IN ?')).toMatchObject({
    selectors: 'all',
    relations: [{ operator: 'inMarker' }],
  });
});

test.each([
  'SELECT now() FROM system.local',
  'SELECT cast(rack AS text) FROM system.local',
  'SELECT peer FROM system.peers WHERE peer > ?',
  'SELECT peer FROM system.peers ORDER BY peer',
  "SELECT peer FROM system.peers WHERE rack = 'open",
  'SELECT tokens[1] FROM system.local',
  'SELECT * FROM system.peers WHERE token(peer) = 1',
  'INSERT INTO system.peers (peer) VALUES (?)',
  'SELECT peer FROM system.peers WHERE peer IN (?',
  '',
])('%s is not understood, and not guessed', (text) => {
  expect(parseSystemSelect(text)).toBeUndefined();
});
