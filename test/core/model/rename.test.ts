import fc from 'fast-check';
import { expect, test } from 'vitest';
import { parseMigrationConfig } from '#core/config/parse.ts';
import { ConfigError } from '#core/errors.ts';
import { createRenames, faultsOf, NO_RENAMES, refuseRenames } from '#core/model/rename.ts';

const name = (text: string) => {
  const [keyspace = '', table = ''] = text.split('.');
  return { keyspace, table };
};
const text = (at: { keyspace: string; table: string } | undefined) => at && `${at.keyspace}.${at.table}`;
const rules = { keyspaces: { old: 'new' }, tables: { 'old.moved': 'archive.t', 'plain.a': 'plain.b' } };
const renames = createRenames(rules);

test.each([
  ['old.t', 'new.t'],
  ['old.moved', 'archive.t'],
  ['plain.a', 'plain.b'],
  ['plain.c', 'plain.c'],
  ['other.t', 'other.t'],
])('%s lies at %s on the target, and back', (origin, target) => {
  expect(text(renames.toTarget(name(origin)))).toBe(target);
  expect(text(renames.toOrigin(name(target)))).toBe(origin);
});

test.each(['old.t', 'new.moved', 'plain.a', 'old.moved'])('nothing of the origin goes to %s', (target) => {
  expect(renames.toOrigin(name(target))).toBeUndefined();
});

test.each(['new.t', 'archive.t', 'plain.b'])(
  '%s of the origin is refused, since another table goes there',
  (origin) => {
    expect(() => renames.toTarget(name(origin))).toThrow(/would both be/);
  },
);

test('a keyspace may be spread over several of the target', () => {
  expect(renames.targetKeyspaces('old')).toEqual(['new', 'archive']);
  expect(renames.targetKeyspaces('other')).toEqual(['other']);
});

test('without rules nothing changes', () => {
  const none = createRenames(NO_RENAMES);
  expect([none.isEmpty, renames.isEmpty]).toEqual([true, false]);
  expect(text(none.toTarget(name('a.b')))).toBe('a.b');
  expect(text(none.toOrigin(name('a.b')))).toBe('a.b');
  expect(() => refuseRenames(NO_RENAMES, 'x')).not.toThrow();
  expect(() => refuseRenames(rules, 'the proxy')).toThrow(/renames: not supported by the proxy yet/);
});

test.each([
  ['two to one', { a: 'x', b: 'x' }, 'keyspaces.b'],
  ['a chain', { a: 'b', b: 'c' }, 'keyspaces.a'],
  ['a circle', { a: 'b', b: 'a' }, 'keyspaces.a'],
  ['its own name', { a: 'a' }, 'keyspaces.a'],
])('%s is refused', (_, keyspaces: Record<string, string>, path) => {
  expect(faultsOf({ keyspaces, tables: {} }).map((fault) => fault.path)).toContain(path);
  expect(() => createRenames({ keyspaces, tables: {} })).toThrow(ConfigError);
});

test('the config names each wrong rule with its line', () => {
  const config = (section: string) =>
    parseMigrationConfig(
      `origin: { contactPoints: [a] }\ntarget: { contactPoints: [b] }\nrenames:\n${section}`,
      'migration.yaml',
      {},
    );
  expect(config('  tables: { "a.b": "c.d" }').renames).toEqual({ keyspaces: {}, tables: { 'a.b': 'c.d' } });
  expect(() => config('  keyspaces:\n    a: x\n    b: x\n')).toThrow(
    /renames\.keyspaces\.b \(line 6\): a goes to x too/,
  );
  expect(() => config('  tables: { ab: "c.d" }')).toThrow(/KEYSPACE\.TABLE|Invalid key/);
  expect(() => config('  views: {}')).toThrow(/renames\.views.*unknown key/);
});

test('no two tables of the origin ever lie at one place of the target', () => {
  const part = fc.constantFrom('a', 'b', 'c');
  const table = fc.tuple(part, part).map((parts) => parts.join('.'));
  fc.assert(
    fc.property(fc.dictionary(part, part), fc.dictionary(table, table), (keyspaces, tables) => {
      if (faultsOf({ keyspaces, tables }).length > 0) return;
      const made = createRenames({ keyspaces, tables });
      const places = new Map<string, string>();
      for (const keyspace of ['a', 'b', 'c']) {
        for (const each of ['a', 'b', 'c']) {
          let place: string | undefined;
          try {
            place = text(made.toTarget({ keyspace, table: each }));
          } catch {
            continue;
          }
          expect(places.has(place!)).toBe(false);
          places.set(place!, `${keyspace}.${each}`);
          expect(text(made.toOrigin(name(place!)))).toBe(`${keyspace}.${each}`);
          expect(made.targetKeyspaces(keyspace)).toContain(name(place!).keyspace);
        }
      }
    }),
  );
});
