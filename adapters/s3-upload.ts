import { type FileHandle, open } from 'node:fs/promises';
import {
  AbortMultipartUploadCommand,
  CompleteMultipartUploadCommand,
  CreateMultipartUploadCommand,
  type S3Client,
  UploadPartCommand,
} from '@aws-sdk/client-s3';
import { ObjectStoreError } from '#core/errors.ts';
import type { ObjectStore } from '#core/ports.ts';
import { wrapS3Error } from './s3-errors.ts';

/** Copies one file of the given size to a key. */
export type UploadFile = (path: string, byteLength: number, key: string, signal?: AbortSignal) => Promise<void>;

/** What is held in memory of one file; larger files go up in parts of this size. Bytes. */
const PART_BYTES = 32 * 1024 * 1024;
/** S3 allows 10,000 parts; the largest SSTables need larger ones. */
const MAX_PARTS = 9_000;

/** Uploads to a bucket; an upload that fails leaves no parts behind. */
export function createS3Upload(client: S3Client, bucket: string, objects: ObjectStore): UploadFile {
  return async (path, byteLength, key, signal) => {
    const file = await open(path, 'r');
    try {
      if (byteLength <= PART_BYTES) await objects.put(key, await readPart(file, path, 0, byteLength), signal);
      else await uploadParts(client, { bucket, key }, file, path, byteLength, signal);
    } finally {
      await file.close();
    }
  };
}

/** Uploads to any other store; the whole file is held in memory. */
export function createPlainUpload(objects: ObjectStore): UploadFile {
  return async (path, byteLength, key, signal) => {
    const file = await open(path, 'r');
    try {
      await objects.put(key, await readPart(file, path, 0, byteLength), signal);
    } finally {
      await file.close();
    }
  };
}

async function uploadParts(
  client: S3Client,
  place: { readonly bucket: string; readonly key: string },
  file: FileHandle,
  path: string,
  byteLength: number,
  signal?: AbortSignal,
): Promise<void> {
  const name = `s3://${place.bucket}/${place.key}`;
  const target = { Bucket: place.bucket, Key: place.key };
  const partBytes = Math.max(PART_BYTES, Math.ceil(byteLength / MAX_PARTS));
  try {
    const { UploadId } = await client.send(new CreateMultipartUploadCommand(target), { abortSignal: signal });
    try {
      const Parts = [];
      for (let start = 0, PartNumber = 1; start < byteLength; start += partBytes, PartNumber++) {
        const Body = await readPart(file, path, start, Math.min(byteLength, start + partBytes));
        const answer = await client.send(new UploadPartCommand({ ...target, UploadId, PartNumber, Body }), {
          abortSignal: signal,
        });
        Parts.push({ PartNumber, ETag: answer.ETag });
      }
      await client.send(new CompleteMultipartUploadCommand({ ...target, UploadId, MultipartUpload: { Parts } }));
    } catch (error) {
      await client.send(new AbortMultipartUploadCommand({ ...target, UploadId })).catch(() => undefined);
      throw error;
    }
  } catch (error) {
    throw wrapS3Error(error, name, 'written', signal);
  }
}

async function readPart(file: FileHandle, path: string, start: number, end: number): Promise<Uint8Array> {
  const bytes = Buffer.allocUnsafeSlow(end - start);
  let filled = 0;
  while (filled < bytes.length) {
    const { bytesRead } = await file.read(bytes, filled, bytes.length - filled, start + filled);
    if (bytesRead === 0) throw new ObjectStoreError(`${path} became shorter while it was read`);
    filled += bytesRead;
  }
  return bytes;
}
