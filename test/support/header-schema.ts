import type { TableSchema } from '#core/model/table-schema.ts';
import type { SerializationHeader } from '#core/sstable/serialization-header.ts';

/** A schema for the columns of a file; a merge needs no more of it. */
export function tableSchemaOf(header: SerializationHeader): TableSchema {
  return {
    keyspace: 'ks',
    table: 't',
    partitionKey: header.keyTypes.map((type, index) => ({ name: `k${index}`, type })),
    clustering: header.clusteringTypes.map((type, index) => ({
      name: `c${index}`,
      type,
      reversed: header.clusteringReversed[index]!,
    })),
    staticColumns: header.staticColumns,
    regularColumns: header.regularColumns,
    droppedColumns: [],
    defaultTimeToLiveSeconds: 0,
    gcGraceSeconds: 0,
    isCounter: false,
  };
}
