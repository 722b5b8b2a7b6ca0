import { z } from 'zod';
import { RunFailedError } from '#core/errors.ts';
import { startNode, stopNode } from '../cassandra-node.ts';
import { ringshift } from './product.ts';
import { part, pause, type Story, thousands } from './story.ts';

const OUTAGE_MS = 6000;
const REPLAY_TIMEOUT_MS = 180_000;

const replayStatus = z.object({ waiting: z.number(), inFlight: z.number(), deadLetters: z.number() });

/** Kills the target without warning, lets the application go on for a while, and starts the target again. */
export async function takeTargetAway(story: Story): Promise<void> {
  const { environment, java, narrator, signal } = story;
  const application = part(story, 'application');
  const before = application.report?.writes ?? 0;
  await stopNode(environment.target, { hard: true });
  narrator.say('the target is killed; the application goes on');
  await pause(story, OUTAGE_MS);
  await startNode(environment.target, { java, keepData: true, signal });
  const during = (application.report?.writes ?? 0) - before;
  narrator.say(`the target is back; the application wrote ${thousands(during)} times meanwhile, without an error`);
}

/** Failed shadow writes went through SQS; the replay function applies them with their own timestamps. */
export async function waitForReplay(story: Story): Promise<void> {
  const deadline = Date.now() + REPLAY_TIMEOUT_MS;
  let most = 0;
  let quiet = 0;
  while (quiet < 3) {
    const { json } = await ringshift(part(story, 'product'), ['replay', 'status'], replayStatus, { allowed: [0, 1] });
    if (json.deadLetters > 0) {
      throw new RunFailedError(
        `${json.deadLetters} failed writes became dead letters: see \`ringshift replay status\``,
      );
    }
    const left = json.waiting + json.inFlight;
    most = Math.max(most, left);
    quiet = left === 0 ? quiet + 1 : 0;
    if (Date.now() > deadline)
      throw new RunFailedError(`${left} failed writes still wait after ${REPLAY_TIMEOUT_MS / 1000} s`);
    if (quiet < 3) await pause(story, 1500);
  }
  const queued = await queuedByProxy(story);
  if (queued === 0) throw new RunFailedError('the outage left no failed shadow write: nothing was shown');
  story.narrator.say(
    `${thousands(queued)} failed shadow writes went through SQS and are replayed (${most} seen waiting at once)`,
  );
  story.facts.push(['outage: shadow writes that failed and were replayed', thousands(queued)]);
}

const sample = /^ringshift_failed_writes_queued_total(?:\{[^}]*\})? (\d+)/gm;

/** The proxy's own count, from its metrics. */
async function queuedByProxy(story: Story): Promise<number> {
  const response = await fetch(`http://${story.environment.proxyAddress}:8080/metrics`);
  const text = await response.text();
  return [...text.matchAll(sample)].reduce((sum, match) => sum + Number(match[1]), 0);
}
