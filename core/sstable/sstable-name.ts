import { SSTableUnsupportedError } from '#core/errors.ts';

export type SSTableFormat = 'big' | 'bti';

/** What a component's file name says: `<version>-<id>-<format>-<Component>`. */
export interface SSTableName {
  /** Two letters, e.g. `nb`. */
  readonly version: string;
  /** A decimal number, or a time-based id; only good for grouping components. */
  readonly id: string;
  readonly format: SSTableFormat;
  /** E.g. `Data.db`. */
  readonly component: string;
  /** What the components of one SSTable share: `nb-1-big`. */
  readonly base: string;
}

/** Components that are read or checked; all others are left alone. */
export const Component = {
  Data: 'Data.db',
  Statistics: 'Statistics.db',
  CompressionInfo: 'CompressionInfo.db',
  Crc: 'CRC.db',
  Digest: 'Digest.crc32',
  Index: 'Index.db',
  Summary: 'Summary.db',
  Partitions: 'Partitions.db',
  Rows: 'Rows.db',
  Toc: 'TOC.txt',
} as const;
export type Component = (typeof Component)[keyof typeof Component];

const NAME = /^([a-z]{2})-(\d{1,19}|[0-9a-z]{4}_[0-9a-z]{4}_[0-9a-z]{18})-(big|bti)-([A-Za-z0-9_+.]{1,200})$/;
const LEGACY = /^(?:[a-z]{2}-\d+-|[\w]+-[\w]+-[a-z]{2}-\d+-|la-\d+-big-)(?:Data|Index|Statistics)\.db$/;

/**
 * Splits a file name (without directory); undefined when it names no SSTable component.
 *
 * @throws SSTableUnsupportedError for names of releases before 3.0
 * @see org.apache.cassandra.io.sstable.Descriptor
 */
export function parseSSTableName(fileName: string): SSTableName | undefined {
  const match = NAME.exec(fileName);
  if (match) {
    const [, version, id, format, component] = match;
    return {
      version: version!,
      id: id!,
      format: format as SSTableFormat,
      component: component!,
      base: `${version}-${id}-${format}`,
    };
  }
  if (LEGACY.test(fileName)) {
    throw new SSTableUnsupportedError(
      `${fileName} was written before Cassandra 3.0; run nodetool upgradesstables -a on 3.0 or later, then snapshot again`,
      { context: { file: fileName } },
    );
  }
  return undefined;
}
