import { z } from 'zod';
import { stopNode } from '../cassandra-node.ts';
import { changePhase, setPhase, watchApplication } from './chapter-dual-writes.ts';
import { ringshift } from './product.ts';
import { part, type Story } from './story.ts';

const gatesShape = z.object({ gates: z.array(z.object({ title: z.string(), unmet: z.array(z.unknown()) })) });

/** Every write on both clusters before it is answered. */
export async function dualSync(story: Story): Promise<void> {
  await setPhase(story, 'dual-sync');
  await watchApplication(story, 4000);
}

/** The target answers; the origin gets the copies and could take over again. */
export async function targetPrimary(story: Story): Promise<void> {
  const asked = await ringshift(part(story, 'product'), ['cutover', '--dry-run'], gatesShape, { allowed: [0, 1] });
  for (const { title, unmet } of asked.json.gates) {
    story.narrator.say(`${unmet.length === 0 ? '✓' : '✗'} ${title}`);
  }
  await changePhase(story, ['cutover']);
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
