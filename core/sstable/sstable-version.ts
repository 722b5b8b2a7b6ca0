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
    throw new SSTableUnsupportedError(
      `${file} is of version ${version}-${format}, which is not read; ${remedyFor(version, format)}`,
      { context: { file, version, format } },
    );
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

const OVER_CQL =
  'or, if the cluster uses Murmur3Partitioner, move the table over CQL: ringshift validate start, then ringshift reconcile';

function remedyFor(version: string, format: SSTableFormat): string {
  if (format === 'big' && version < 'ma') {
    return 'it was written before Cassandra 3.0: run nodetool upgradesstables -a on 3.0 or later, then snapshot again';
  }
  if (version[0] === 'm' && format === 'big') {
    return 'ScyllaDB has another index since ms: set sstable_format: me in scylla.yaml, run nodetool upgradesstables -a, then snapshot again';
  }
  if (format === 'bti' && version < 'da') {
    return `it is of DataStax Enterprise, whose files Cassandra does not read either; ${OVER_CQL.slice(3)}`;
  }
  return `read are ma to me, na, nb, oa (big) and da (bti): rewrite it with nodetool upgradesstables -a on a release that writes one of them, ${OVER_CQL}`;
}
