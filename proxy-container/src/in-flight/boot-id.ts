import { readFileSync } from 'node:fs';

const BOOT_ID_FILE = '/proc/sys/kernel/random/boot_id';

/**
 * What the machine calls its present run: another one means that it has been without power, or is another machine. Where
 * the system does not say (outside Linux), one run is taken for the other.
 */
export function readBootId(): string {
  try {
    return readFileSync(BOOT_ID_FILE, 'utf8').trim();
  } catch {
    return 'unknown';
  }
}
