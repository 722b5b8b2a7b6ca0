import { stopNode } from '../cassandra-node.ts';
import { setPhase, watchApplication } from './chapter-dual-writes.ts';
import type { Story } from './story.ts';

/** Every write on both clusters before it is answered. */
export async function dualSync(story: Story): Promise<void> {
  await setPhase(story, 'dual-sync');
  await watchApplication(story, 4000);
}

/** The target answers; the origin gets the copies and could take over again. */
export async function targetPrimary(story: Story): Promise<void> {
  await setPhase(story, 'target-primary');
  await watchApplication(story, 4000);
}

/** The origin is left alone, and then stopped, while the application goes on. */
export async function targetOnly(story: Story): Promise<void> {
  story.narrator.say(
    'what filter-rules.yaml excludes stays behind on the origin, so --abandon-filtered says that it may',
  );
  await setPhase(story, 'target-only', ['--abandon-filtered']);
  await watchApplication(story, 2000);
  await stopNode(story.environment.origin);
  story.narrator.say('the origin is stopped');
  await watchApplication(story, 4000);
}
