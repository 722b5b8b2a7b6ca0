import { expect, test } from 'vitest';
import { dumpPartitions } from '#core/sstable/dump.ts';
import { openPartitionCursor, openSSTable } from '#core/sstable/sstable.ts';
import { listFixtures } from './fixtures.ts';
import { parseWholeDump, readDump } from './parse-dump.ts';

test('cells that expire after 2038 decode to what sstabledump of 5.0 says of them', async () => {
  const [fixture] = listFixtures(['5.0-oa-far']);
  const sstable = await openSSTable(fixture!.files);
  expect(sstable.version.text).toBe('oa');
  let text = '';
  for await (const piece of dumpPartitions(openPartitionCursor(sstable), sstable.header, {
    form: 'document',
    release: '5.0',
    nowSeconds: Date.parse('2026-11-21T12:00:00Z') / 1000,
  })) {
    text += piece;
  }
  expect(parseWholeDump(text)).toEqual(readDump(fixture!.dumpPath!));
  expect(text).toContain('"expires_at" : "2046-11-16T');
});
