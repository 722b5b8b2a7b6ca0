import { crc32 } from 'node:zlib';
import { expect, test } from 'vitest';
import { SSTableUnsupportedError } from '#core/errors.ts';
import { openSSTable } from '#core/sstable/sstable.ts';
import { parseSSTableName, type SSTableFormat } from '#core/sstable/sstable-name.ts';
import { versionOf } from '#core/sstable/sstable-version.ts';
import { fixture } from '../../golden/fixtures.ts';
import { MemoryFiles } from '../../support/byte-sources.ts';

const COMPONENTS = ['Data.db', 'Statistics.db', 'CompressionInfo.db', 'Index.db', 'Summary.db'];

async function refusalOf(files: MemoryFiles): Promise<SSTableUnsupportedError> {
  const error = await openSSTable(files).catch((reason: unknown) => reason);
  expect(error).toBeInstanceOf(SSTableUnsupportedError);
  return error as SSTableUnsupportedError;
}

test.for([
  ['jb', 'big', /before Cassandra 3\.0.*upgradesstables -a on 3\.0 or later/],
  ['ka', 'big', /before Cassandra 3\.0/],
  ['la', 'big', /before Cassandra 3\.0/],
  ['ms', 'big', /ScyllaDB.*sstable_format: me in scylla\.yaml.*upgradesstables -a/],
  ['mt', 'big', /ScyllaDB.*sstable_format: me/],
  ['aa', 'bti', /DataStax Enterprise.*over CQL/],
  ['bb', 'bti', /DataStax Enterprise/],
  ['db', 'bti', /read are ma to me, na, nb, oa \(big\) and da \(bti\).*upgradesstables/],
  ['nc', 'big', /read are ma to me/],
  ['pa', 'big', /read are ma to me/],
] as const)('version %s-%s is refused by name, with what to do', ([version, format, remedy]) => {
  const refuse = () => versionOf(version, format as SSTableFormat, 'x');
  expect(refuse).toThrow(SSTableUnsupportedError);
  expect(refuse).toThrow(new RegExp(`${version}-${format}, which is not read`));
  expect(refuse).toThrow(remedy);
});

test.for(['ks-tab-jb-5-Data.db', 'ks-tab-ka-5-Data.db'])('%s, a name from before 3.0, is no unknown file', (name) => {
  expect(() => parseSSTableName(name)).toThrow(/before Cassandra 3\.0; run nodetool upgradesstables -a/);
});

/** Replaces a text by another one and moves what follows; the length before it is 16 bits wide. */
function renamed(bytes: Uint8Array, from: string, to: string): Uint8Array {
  const buffer = Buffer.from(bytes);
  const at = buffer.indexOf(from);
  const start = at - 2;
  expect(buffer.readUInt16BE(start)).toBe(from.length);
  const length = Buffer.alloc(2);
  length.writeUInt16BE(to.length);
  return Buffer.concat([buffer.subarray(0, start), length, Buffer.from(to), buffer.subarray(at + from.length)]);
}

test.for([
  ['LZ4WithDictsCompressor', /dictionaries are in the cluster.*ALTER TABLE.*upgradesstables -a/],
  ['ZstdWithDictsCompressor', /dictionaries are in the cluster/],
  ['org.apache.cassandra.io.compress.EncryptingLZ4Compressor', /encrypted.*ALTER TABLE/],
  ['com.example.MyCompressor', /set one of LZ4Compressor.*upgradesstables -a/],
] as const)('the compressor %s is refused by name, with what to do', async ([name, remedy]) => {
  const files = await MemoryFiles.of(fixture('4.1-nb-big/statics/nb-1-big').files, COMPONENTS);
  const info = files.components.get('CompressionInfo.db')!;
  files.components.set('CompressionInfo.db', renamed(info, 'LZ4Compressor', name));
  const error = await refusalOf(files);
  expect(error.message).toContain(`the compressor ${name} is not read`);
  expect(error.message).toMatch(remedy);
  expect(error.context).toMatchObject({ compressor: name });
});

const MURMUR3 = 'org.apache.cassandra.dht.Murmur3Partitioner';

test.for(['RandomPartitioner', 'ByteOrderedPartitioner', 'OrderPreservingPartitioner'])(
  'the partitioner %s is refused by name, with what to do',
  async (name) => {
    const files = await MemoryFiles.of(fixture('4.1-nb-big/statics/nb-1-big').files, COMPONENTS);
    const statistics = Buffer.from(files.components.get('Statistics.db')!);
    // As long as it was, so that nothing moves; its component is the name and eight bytes, then their checksum.
    const at = statistics.indexOf(MURMUR3);
    statistics.write(`${'x'.repeat(MURMUR3.length - name.length - 1)}.${name}`, at);
    const end = at + MURMUR3.length + 8;
    statistics.writeUInt32BE(crc32(statistics.subarray(at - 2, end)), end);
    files.components.set('Statistics.db', statistics);
    expect((await refusalOf(files)).message).toMatch(new RegExp(`${name} is not supported.*with the application`));
  },
);
