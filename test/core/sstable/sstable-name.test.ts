import { expect, test } from 'vitest';
import { SSTableUnsupportedError } from '#core/errors.ts';
import { parseSSTableName } from '#core/sstable/sstable-name.ts';
import { versionOf } from '#core/sstable/sstable-version.ts';

test('splits names with numbers and with time-based ids', () => {
  expect(parseSSTableName('nb-12-big-Data.db')).toEqual({
    version: 'nb',
    id: '12',
    format: 'big',
    component: 'Data.db',
    base: 'nb-12-big',
  });
  expect(parseSSTableName('da-3h5p_06nr_2kt1s22ypsissw3uhu-bti-Partitions.db')).toMatchObject({
    id: '3h5p_06nr_2kt1s22ypsissw3uhu',
    format: 'bti',
  });
});

test('other files of a snapshot are no SSTable components', () => {
  for (const name of ['manifest.json', 'schema.cql', '.idx', 'nb_txn_flush_x.log', 'nb-1-big', 'nb-1-idx-Data.db']) {
    expect(parseSSTableName(name)).toBeUndefined();
  }
});

test('files from before 3.0 are refused with what to do', () => {
  for (const name of ['la-1-big-Data.db', 'ks-tab-jb-5-Data.db', 'ks-tab-ka-5-Statistics.db']) {
    expect(() => versionOf(parseSSTableName(name)?.version ?? '', 'big', name)).toThrow(SSTableUnsupportedError);
  }
});

test('da has all that oa has, though it sorts before na', () => {
  expect(versionOf('da', 'bti', 'x')).toMatchObject({ hasUnsignedDeletionTime: true, hasMetadataChecksum: true });
  expect(versionOf('nb', 'big', 'x')).toMatchObject({ hasUnsignedDeletionTime: false, hasOriginatingHostId: true });
  expect(versionOf('mc', 'big', 'x')).toMatchObject({ hasCommitLogIntervals: true, hasMaxCompressedLength: false });
  expect(versionOf('ma', 'big', 'x')).toMatchObject({ hasCommitLogLowerBound: false });
});

test('versions that are not known are refused by name', () => {
  for (const [version, format] of [
    ['ms', 'big'],
    ['mt', 'big'],
    ['nc', 'big'],
    ['ob', 'big'],
    ['db', 'bti'],
    ['nb', 'bti'],
  ] as const) {
    expect(() => versionOf(version, format, 'x')).toThrow(new RegExp(`${version}-${format}, which is not read`));
  }
});
