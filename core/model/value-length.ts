import type { CqlType } from './cql-type.ts';

const FIXED: Readonly<Record<string, number>> = {
  boolean: 1,
  int: 4,
  float: 4,
  bigint: 8,
  double: 8,
  timestamp: 8,
  uuid: 16,
  timeuuid: 16,
  empty: 0,
};

/** For types whose values carry a vint length. */
export const VARIABLE_LENGTH = -1;

/**
 * Bytes of every value of this type in a cell or clustering, or VARIABLE_LENGTH. Not what one would guess: tinyint,
 * smallint, date, time and counter are of variable length to the storage engine.
 *
 * @see org.apache.cassandra.db.marshal.AbstractType#valueLengthIfFixed
 */
export function fixedLengthOf(type: CqlType): number {
  if (type.kind === 'native') return FIXED[type.name] ?? VARIABLE_LENGTH;
  if (type.kind !== 'vector') return VARIABLE_LENGTH;
  const element = fixedLengthOf(type.element);
  return element === VARIABLE_LENGTH ? VARIABLE_LENGTH : element * type.dimensions;
}
