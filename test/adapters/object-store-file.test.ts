import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { createFileObjectStore } from '#adapters/object-store-file.ts';
import { ObjectStoreError } from '#core/errors.ts';

let directory: string;
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'objects-'));
});
afterEach(() => rm(directory, { recursive: true, force: true }));

test('objects are put, listed by prefix in order, read in part, and removed', async () => {
  const store = createFileObjectStore(directory);
  for (const key of ['runs/b/plan.json', 'runs/a/differences/000001.jsonl', 'runs/a/plan.json', 'other']) {
    await store.put(key, `body of ${key}`);
  }
  const keys: string[] = [];
  for await (const { key } of store.list('runs/a')) keys.push(key);
  expect(keys).toEqual(['runs/a/differences/000001.jsonl', 'runs/a/plan.json']);
  expect(new TextDecoder().decode(await store.get('other'))).toBe('body of other');
  expect(new TextDecoder().decode(await (await store.open('other')).read(8, 13))).toBe('other');
  await store.remove('other');
  expect(await store.get('other')).toBeUndefined();
});

test('a key can not leave the directory', async () => {
  await expect(createFileObjectStore(directory).put('../outside', 'x')).rejects.toThrow(ObjectStoreError);
});
