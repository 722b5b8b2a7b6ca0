import { createHash } from 'node:crypto';

/** The same UUID for the same kind and number, in every process: so the application can find rows of the seed. */
export function uuidOf(kind: string, number: number): string {
  const hex = createHash('md5').update(`${kind}:${number}`).digest('hex');
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-4${hex.slice(13, 16)}-8${hex.slice(17, 20)}-${hex.slice(20, 32)}`;
}
