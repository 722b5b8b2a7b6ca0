import type { CqlType } from './cql-type.ts';

/** Consistency levels with the numbers of the native protocol ([consistency], section 3). */
export const Consistency = {
  ANY: 0x0000,
  ONE: 0x0001,
  TWO: 0x0002,
  THREE: 0x0003,
  QUORUM: 0x0004,
  ALL: 0x0005,
  LOCAL_QUORUM: 0x0006,
  EACH_QUORUM: 0x0007,
  SERIAL: 0x0008,
  LOCAL_SERIAL: 0x0009,
  LOCAL_ONE: 0x000a,
} as const;
export type Consistency = (typeof Consistency)[keyof typeof Consistency];
export type ConsistencyName = keyof typeof Consistency;

/** A value for a bind marker: protocol bytes, null, or undefined for "unset" (protocol v4 and later). */
export type BoundValue = Uint8Array | null | undefined;

export interface ResultColumn {
  readonly keyspace: string;
  readonly table: string;
  readonly name: string;
  readonly type: CqlType;
}

/** One page of a result; `rows` is empty for VOID, SET_KEYSPACE and SCHEMA_CHANGE. */
export interface ResultPage {
  readonly columns: readonly ResultColumn[];
  readonly rows: readonly (readonly (Uint8Array | null)[])[];
  readonly pagingState?: Uint8Array;
}
