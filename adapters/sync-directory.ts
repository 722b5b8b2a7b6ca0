import { open } from 'node:fs/promises';

/** Brings a directory to the disk: the name of a file is there when its directory is. */
export async function syncDirectory(path: string): Promise<void> {
  const directory = await open(path, 'r');
  try {
    await directory.sync();
  } finally {
    await directory.close();
  }
}
