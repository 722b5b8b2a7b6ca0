import { parseS3Uri } from '#adapters/s3.ts';
import { UsageError } from '#core/errors.ts';
import type { SnapshotPlace } from '#core/jobs/load-planning.ts';
import type { JobEnvironment } from './environment.ts';

/** Where the snapshot of this URI lies. @throws UsageError for anything but s3://bucket/prefix */
export function openSnapshot(environment: JobEnvironment, uri: string): SnapshotPlace {
  const place = parseS3Uri(uri);
  if (place === undefined) {
    throw new UsageError(`${uri} is no place that a function can read: a snapshot must be at s3://bucket/prefix`);
  }
  return { objects: environment.openBucket(place.bucket), prefix: place.key.replace(/\/+$/, '') };
}
