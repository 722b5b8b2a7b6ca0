import { UsageError } from '#core/errors.ts';
import type { SnapshotPlace } from '#core/jobs/load-planning.ts';
import type { ObjectStore } from '#core/ports.ts';
import { createFileObjectStore } from './object-store-file.ts';
import { parseS3Uri } from './s3.ts';

/**
 * Where a snapshot lies: `s3://bucket/prefix`, or a directory on this machine.
 * @param openBucket makes a store for a bucket
 * @throws UsageError for a URI of another scheme
 */
export function openSnapshotPlace(uri: string, openBucket: (bucket: string) => ObjectStore): SnapshotPlace {
  const place = parseS3Uri(uri);
  if (place !== undefined) return { objects: openBucket(place.bucket), prefix: place.key.replace(/\/+$/, '') };
  if (/^[a-z0-9]+:\/\//i.test(uri)) throw new UsageError(`${uri} is neither s3://bucket/prefix nor a directory`);
  return { objects: createFileObjectStore(uri), prefix: '' };
}
