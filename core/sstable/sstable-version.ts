import { SSTableUnsupportedError } from '#core/errors.ts';
import type { SSTableFormat } from './sstable-name.ts';

/**
 * What differs between versions of the format. Versions are compared within one family only: `da` sorts before `na`
 * and yet has everything that `oa` has.
 *
 * @see org.apache.cassandra.io.sstable.format.big.BigFormat.BigVersion, .bti.BtiFormat.BtiVersion
 */
export interface SSTableVersion {
  readonly text: string;
  readonly format: SSTableFormat;
  readonly hasCommitLogLowerBound: boolean;
  readonly hasCommitLogIntervals: boolean;
  readonly hasOriginatingHostId: boolean;
  /** CompressionInfo.db tells from which size on a chunk is stored raw. */
  readonly hasMaxCompressedLength: boolean;
  /** Statistics.db carries checksums; it tells pending repairs. */
  readonly hasMetadataChecksum: boolean;
  /** Unsigned local deletion times, short form of live partitions, slices and keys in Statistics.db. */
  readonly hasUnsignedDeletionTime: boolean;
}

/**
 * @param file for messages
 * @throws SSTableUnsupportedError naming the version and what to do about it
 */
export function versionOf(version: string, format: SSTableFormat, file: string): SSTableVersion {
  const family = version[0]!;
  const isLegacy = family === 'm' && format === 'big' && version >= 'ma' && version <= 'me';
  const isN = format === 'big' && (version === 'na' || version === 'nb');
  const isNewest = (format === 'big' && version === 'oa') || (format === 'bti' && version === 'da');
  if (!isLegacy && !isN && !isNewest) {
    const remedy =
      family === 'm'
        ? 'Scylla versions after me replace the index: set sstable_format: me there and rewrite with nodetool upgradesstables'
        : 'read are ma to me, na, nb, oa (big) and da (bti): rewrite it with nodetool upgradesstables on a release that writes one of them';
    throw new SSTableUnsupportedError(`${file} is of version ${version}-${format}, which is not read; ${remedy}`, {
      context: { file, version, format },
    });
  }
  const isNOrLater = isN || isNewest;
  return {
    text: version,
    format,
    hasCommitLogLowerBound: isNOrLater || version >= 'mb',
    hasCommitLogIntervals: isNOrLater || version >= 'mc',
    hasOriginatingHostId: isNewest || version === 'nb' || version === 'me',
    hasMaxCompressedLength: isNOrLater,
    hasMetadataChecksum: isNOrLater,
    hasUnsignedDeletionTime: isNewest,
  };
}
