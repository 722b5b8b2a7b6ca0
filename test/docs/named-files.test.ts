/** The documents name the code and the tests that keep each promise: a file that moves takes its mention with it. */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';

const root = join(import.meta.dirname, '..', '..');
const documents = [
  ...readdirSync(join(root, 'docs'))
    .filter((name) => name.endsWith('.md'))
    .map((name) => join('docs', name)),
  'README.md',
  'CONTRIBUTING.md',
  'DECISIONS.md',
];
const NAMED_FILE = /`((?:[\w.-]+\/)+[\w.-]+\.(?:ts|mjs))`/g;
/** Tests are named from below `test/`, files of the proxy also from its source folder. */
const PLACES = ['', 'test', join('proxy-container', 'src')];

test.each(documents)('every source file and test that %s names exists', (document) => {
  const text = readFileSync(join(root, document), 'utf8');
  const named = [...text.matchAll(NAMED_FILE)].map((match) => match[1]!);
  expect(named.filter((path) => !PLACES.some((place) => existsSync(join(root, place, path))))).toEqual([]);
});

test('the tables of correctness and acceptance name files', () => {
  for (const document of ['correctness', 'acceptance']) {
    const text = readFileSync(join(root, 'docs', `${document}.md`), 'utf8');
    expect(text.match(NAMED_FILE)?.length).toBeGreaterThan(50);
  }
});
