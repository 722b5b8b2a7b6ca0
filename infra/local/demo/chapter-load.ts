import { join } from 'node:path';
import { z } from 'zod';
import { RunFailedError } from '#core/errors.ts';
import { nodetool } from '../cassandra-tools.ts';
import { readState } from '../local-migration.ts';
import { ringshift } from './product.ts';
import { formatCounts, runSummary } from './run-summary.ts';
import { part, type Story, thousands } from './story.ts';
import { keyspaces } from './tables.ts';

const TAG = 'ringshift-demo';

const uploaded = z.object({ prefix: z.string().optional() });

/** nodetool takes it, `ringshift snapshot upload` ships it to the bucket with its manifest. */
export async function takeSnapshot(story: Story): Promise<void> {
  const { environment, java, narrator } = story;
  // By itself a snapshot does not wait for a flush that is under way, and lacks what that writes.
  for (const keyspace of keyspaces) await nodetool(java, environment.origin, 'flush', keyspace);
  await nodetool(java, environment.origin, 'snapshot', '-t', TAG, ...keyspaces);
  narrator.say(`nodetool flush; nodetool snapshot -t ${TAG} ${keyspaces.join(' ')}`);
  const product = part(story, 'product');
  const place = `s3://${bucketOf(story)}/snapshots/${TAG}`;
  await ringshift(
    product,
    ['snapshot', 'upload', join(environment.origin.folder, 'data'), '--tag', TAG, '--to', place],
    uploaded,
  );
  story.parts.snapshot = place;
  narrator.say(`uploaded to ${place}`);
}

function bucketOf(story: Story): string {
  const state = readState(story.environment);
  if (state === undefined) throw new Error('the stacks are not deployed');
  return state.bucket;
}

/** One Step Functions execution for each keyspace; its Distributed Map runs a Lambda for every token range. */
export async function bulkLoad(story: Story): Promise<void> {
  const product = part(story, 'product');
  const snapshot = part(story, 'snapshot');
  let ranges = 0;
  let rows = 0;
  const started = Date.now();
  for (const keyspace of keyspaces) {
    const { json } = await ringshift(
      product,
      ['load', 'start', '--keyspace', keyspace, '--snapshot', snapshot, '--wait'],
      runSummary,
    );
    if (json.status !== 'done') throw new RunFailedError(`the load of ${keyspace} ended as ${json.status}`);
    ranges += json.rangeCount;
    rows += json.totals['rows'] ?? 0;
    story.narrator.say(
      `${keyspace}: ${json.rangeCount} ranges done in ${json.seconds.toFixed(1)} s: ${formatCounts(json.totals)}`,
    );
  }
  const seconds = (Date.now() - started) / 1000;
  story.facts.push(['bulk load: ranges / rows', `${thousands(ranges)} / ${thousands(rows)}`]);
  story.facts.push(['bulk load: rows in a second (all on one machine)', thousands(Math.round(rows / seconds))]);
}
