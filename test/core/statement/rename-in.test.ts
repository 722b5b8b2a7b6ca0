import { expect, test } from 'vitest';
import { createRenames } from '#core/model/rename.ts';
import { renameIn } from '#core/statement/rename-in.ts';

const renames = createRenames({ keyspaces: { old: 'new', Odd: 'plain' }, tables: { 'old.moved': 'archive.T' } });

test.each([
  [
    'keyspace',
    "CREATE KEYSPACE IF NOT EXISTS old WITH x = {'old': 'old.t'}",
    "CREATE KEYSPACE IF NOT EXISTS new WITH x = {'old': 'old.t'}",
  ],
  [
    'table',
    "CREATE TABLE old.t (\n  old int PRIMARY KEY, -- old.t\n  a text) WITH comment = 'old.t'",
    "CREATE TABLE new.t (\n  old int PRIMARY KEY, -- old.t\n  a text) WITH comment = 'old.t'",
  ],
  ['table', 'CREATE TABLE old.moved (a int PRIMARY KEY)', 'CREATE TABLE archive."T" (a int PRIMARY KEY)'],
  ['index', 'CREATE INDEX i ON old.moved (old)', 'CREATE INDEX i ON archive."T" (old)'],
  [
    'materialized_view',
    'CREATE MATERIALIZED VIEW old.v AS SELECT a FROM old.moved',
    'CREATE MATERIALIZED VIEW new.v AS SELECT a FROM archive."T"',
  ],
  ['type', 'CREATE TYPE old.moved (old text)', 'CREATE TYPE new.moved (old text)'],
  [
    'function',
    'CREATE FUNCTION old.f(x int) CALLED ON NULL INPUT RETURNS int LANGUAGE java AS $$return old.t;$$',
    'CREATE FUNCTION new.f(x int) CALLED ON NULL INPUT RETURNS int LANGUAGE java AS $$return old.t;$$',
  ],
] as const)('names in a statement of a %s are carried over, and nothing else', (kind, text, expected) => {
  expect(renameIn(text, 'old', kind, renames)).toBe(expected);
});

test('quoted names are understood, and the case of bare ones is none', () => {
  expect(renameIn('CREATE TABLE "Odd"."T" (a int PRIMARY KEY)', 'Odd', 'table', renames)).toBe(
    'CREATE TABLE plain."T" (a int PRIMARY KEY)',
  );
  expect(renameIn('CREATE TABLE OLD.T (a int PRIMARY KEY)', 'old', 'table', renames)).toBe(
    'CREATE TABLE new.t (a int PRIMARY KEY)',
  );
});
