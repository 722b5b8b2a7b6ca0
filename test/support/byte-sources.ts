import { SnapshotIncompleteError } from '#core/errors.ts';
import type { ByteSource } from '#core/ports.ts';
import type { SSTableFiles } from '#core/sstable/sstable-files.ts';

/** Bytes in memory as a ByteSource; refuses to read beyond its end. */
export function memorySource(bytes: Uint8Array, name = 'memory'): ByteSource {
  return {
    name,
    byteLength: bytes.length,
    read: async (start, end) => {
      if (start < 0 || end > bytes.length || start > end) throw new RangeError(`${name}: read ${start} to ${end}`);
      return bytes.slice(start, end);
    },
  };
}

/** The components of an SSTable in memory; change them to see what a reader notices. */
export class MemoryFiles implements SSTableFiles {
  readonly name: string;
  readonly version: string;
  readonly components = new Map<string, Uint8Array>();

  constructor(name: string, version: string) {
    this.name = name;
    this.version = version;
  }

  async open(component: string): Promise<ByteSource> {
    const bytes = this.components.get(component);
    if (!bytes) throw new SnapshotIncompleteError(`${this.name}-${component} does not exist`);
    return memorySource(bytes, `${this.name}-${component}`);
  }

  static async of(files: SSTableFiles, components: readonly string[]): Promise<MemoryFiles> {
    const copy = new MemoryFiles(files.name, files.version);
    for (const component of components) {
      try {
        const source = await files.open(component);
        copy.components.set(component, new Uint8Array(await source.read(0, source.byteLength)));
      } catch (error) {
        if (!(error instanceof SnapshotIncompleteError)) throw error;
      }
    }
    return copy;
  }
}

export interface ReadCounts {
  reads: number;
  bytes: number;
}

/** The same files, with reads and bytes counted for each component. */
export function countingFiles(files: SSTableFiles): { files: SSTableFiles; counts: Map<string, ReadCounts> } {
  const counts = new Map<string, ReadCounts>();
  const open = async (component: string): Promise<ByteSource> => {
    const source = await files.open(component);
    const count = counts.get(component) ?? { reads: 0, bytes: 0 };
    counts.set(component, count);
    return {
      ...source,
      read: (start, end, signal) => {
        count.reads += 1;
        count.bytes += end - start;
        return source.read(start, end, signal);
      },
    };
  };
  return { files: { name: files.name, version: files.version, open }, counts };
}
