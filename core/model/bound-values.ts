import type { BoundValue } from './cql-request.ts';
import type { FailedStatement } from './failed-write.ts';

/** The values of a statement by the index of the marker, or by its name where they are named. */
export function valueLookup({ values }: FailedStatement): (index: number, name: string | undefined) => BoundValue {
  if (values instanceof Map) return (_index, name) => (name === undefined ? undefined : values.get(name));
  const list = values as readonly BoundValue[];
  return (index) => list[index];
}
