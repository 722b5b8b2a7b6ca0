import { globSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';

const ROOT = join(import.meta.dirname, '..', '..');
/** As tests name the ports on which they listen. */
const PORT = /\b1[89]_?\d{3}\b/g;

test('no two files of tests that run at once listen on one port', () => {
  const users = new Map<string, string>();
  const shared: string[] = [];
  for (const file of globSync('test/integration/*.test.ts', { cwd: ROOT })) {
    const ports = new Set(
      readFileSync(join(ROOT, file), 'utf8')
        .match(PORT)
        ?.map((port) => port.replace('_', '')),
    );
    for (const port of ports) {
      const other = users.get(port);
      if (other === undefined) users.set(port, file);
      else shared.push(`${port}: ${other}, ${file}`);
    }
  }
  expect(users.size).toBeGreaterThan(10);
  expect(shared).toEqual([]);
});
