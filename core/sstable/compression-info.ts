import { ByteReader } from '#core/bytes/byte-reader.ts';
import { SSTableUnsupportedError } from '#core/errors.ts';
import type { ByteSource } from '#core/ports.ts';
import { corrupt, decodeOf } from './sstable-files.ts';
import type { SSTableVersion } from './sstable-version.ts';

/** How Data.db is compressed. The offsets of its chunks stay in the file and are read as they are needed. */
export interface CompressionInfo {
  readonly compressor: string;
  /** Plain bytes of every chunk but the last; a power of two. */
  readonly chunkBytes: number;
  /** A chunk stored in this many bytes or more is stored raw. */
  readonly maxCompressedBytes: number;
  /** Plain bytes of the whole of Data.db. */
  readonly dataBytes: number;
  /** Chunks that hold data: compaction may append one more that is empty. */
  readonly chunkCount: number;
  /** Chunks that the file lists. */
  readonly listedChunkCount: number;
  /** Position of the first chunk offset in CompressionInfo.db. */
  readonly offsetsStart: number;
}

const MAX_HEADER_BYTES = 16 * 1024;
const MAX_CHUNK_BYTES = 64 * 1024 * 1024;

/**
 * ```
 * utf compressor; i32 k; k × { utf key; utf value }; i32 chunkLength
 * [na and later: i32 maxCompressedLength]; i64 dataLength; i32 chunkCount; chunkCount × i64 offset in Data.db
 * ```
 *
 * @throws SSTableCorruptError, SSTableUnsupportedError (a compressor that needs more than the file)
 * @see org.apache.cassandra.io.compress.CompressionMetadata
 */
export async function readCompressionInfo(
  source: ByteSource,
  version: SSTableVersion,
  signal?: AbortSignal,
): Promise<CompressionInfo> {
  const file = source.name;
  const bytes = await source.read(0, Math.min(source.byteLength, MAX_HEADER_BYTES), signal);
  return decodeOf(file, 0, () => {
    const reader = new ByteReader(bytes);
    const text = (): string => reader.readText(reader.readUint16());
    const compressor = text();
    refuseByName(compressor, file);
    for (let left = reader.readInt32(); left > 0; left--) {
      text();
      text();
    }
    const chunkBytes = reader.readInt32();
    if (chunkBytes < 1 || chunkBytes > MAX_CHUNK_BYTES || (chunkBytes & (chunkBytes - 1)) !== 0) {
      throw corrupt(file, reader.offset - 4, `chunks of ${chunkBytes} bytes can not be`);
    }
    const maxCompressedBytes = version.hasMaxCompressedLength ? reader.readInt32() : 0x7fffffff;
    const dataBytes = reader.readPosition();
    const listedChunkCount = reader.readInt32();
    const offsetsStart = reader.offset;
    const chunkCount = Math.ceil(dataBytes / chunkBytes);
    // One more, which is empty, is left behind by compaction.
    const isCount = listedChunkCount === chunkCount || listedChunkCount === chunkCount + 1;
    if (!isCount || offsetsStart + 8 * listedChunkCount !== source.byteLength) {
      const size = source.byteLength;
      throw corrupt(file, offsetsStart, `${listedChunkCount} chunks for ${dataBytes} bytes of data, in ${size} bytes`);
    }
    return { compressor, chunkBytes, maxCompressedBytes, dataBytes, chunkCount, listedChunkCount, offsetsStart };
  });
}

const REWRITE =
  "ALTER TABLE … WITH compression = {'class': 'LZ4Compressor'}, then nodetool upgradesstables -a, then snapshot again";

/** Compressors whose chunks can not be read from the SSTable alone. */
function refuseByName(compressor: string, file: string): void {
  const reason = /WithDicts/.test(compressor)
    ? 'its dictionaries are in the cluster, not in the SSTable'
    : /Encrypt/.test(compressor)
      ? 'its data is encrypted, and the key is not in the SSTable'
      : undefined;
  if (reason === undefined) return;
  throw new SSTableUnsupportedError(`${file}: the compressor ${compressor} is not read: ${reason}; ${REWRITE}`, {
    context: { file, compressor },
  });
}
