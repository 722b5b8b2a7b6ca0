import { randomUUID } from 'node:crypto';
import { hostname } from 'node:os';

/** Cloud Run gives every instance of a service the same host name, and its disk ends with it: each is one of its own. */
export function defaultInstance(env: Readonly<Record<string, string | undefined>>): string {
  const revision = env['K_REVISION'];
  return revision ? `${revision}-${randomUUID().slice(0, 8)}` : hostname();
}
