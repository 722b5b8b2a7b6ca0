/** `npm run demo`: a whole migration on this machine, against real clusters, told step by step. */
import { describeError, PrerequisiteError, RunFailedError } from '#core/errors.ts';
import { demoEnvironment, environmentStatus, stopEnvironment } from '../environment.ts';
import { abortOnSignals, InterruptedError } from '../interruption.ts';
import { forgetState, shellEnvironment } from '../local-migration.ts';
import { prepare } from '../prepare.ts';
import { dualSync, targetOnly, targetPrimary } from './chapter-cut-over.ts';
import { setPhase, startProxyAndApplication, watchApplication, writeFilteredTenant } from './chapter-dual-writes.ts';
import { bulkLoad, takeSnapshot } from './chapter-load.ts';
import { takeTargetAway, waitForReplay } from './chapter-outage.ts';
import { copySchema, deploy, seedOrigin, startEverything } from './chapter-start.ts';
import {
  checkIndependently,
  damageTarget,
  findAndReconcile,
  validateClean,
  writeRowsToDamage,
} from './chapter-validation.ts';
import { howToConnect } from './how-to-connect.ts';
import { Narrator } from './narrator.ts';
import type { Story } from './story.ts';
import { applicationFacts, formatTable, stepFacts } from './summary.ts';

type Chapter = readonly [title: string, work: (story: Story) => Promise<void>];

const chapters: readonly Chapter[] = [
  ['Start a real Cassandra 4.1 (the origin), a real Cassandra 5.0 (the target) and a local AWS', startEverything],
  ['Deploy the AWS half with cdk deploy', deploy],
  ['Create the application’s tables and more than 100,000 rows on the origin', seedOrigin],
  ['Copy the schema to the target', copySchema],
  ['Start the proxy in origin-only, and the live application behind it', startProxyAndApplication],
  [
    'Phase dual-async: from here every write reaches both clusters with one timestamp',
    async (story) => {
      await setPhase(story, 'dual-async');
      await writeFilteredTenant(story);
      await watchApplication(story, 2000);
    },
  ],
  ['Take a snapshot with nodetool and upload it to S3', takeSnapshot],
  ['Bulk load: Step Functions fans out Lambdas that read the SSTables by token range', bulkLoad],
  ['Kill the target for some seconds under live traffic, and bring it back', takeTargetAway],
  ['Replay the shadow writes that failed meanwhile', waitForReplay],
  [
    'Validate: compare every partition of both clusters',
    async (story) => {
      await writeRowsToDamage(story);
      await validateClean(story);
    },
  ],
  ['Check the same with the Python driver and sstabledump, independently', checkIndependently],
  [
    'Damage three rows of the target on purpose; find, reconcile, validate again',
    async (story) => {
      await damageTarget(story);
      await findAndReconcile(story);
    },
  ],
  ['Phase dual-sync: both clusters answer before the application is answered', dualSync],
  ['Phase target-primary: the target answers, the origin gets the copies', targetPrimary],
  ['Phase target-only: the origin is stopped while the application goes on', targetOnly],
];

async function requireNothingRunning(): Promise<void> {
  const running = await environmentStatus(demoEnvironment);
  if (running.origin || running.target || running.aws) {
    throw new PrerequisiteError(
      'The local clusters still run, from `npm run demo -- --keep` or `ringshift local up`. Stop them with: npx ringshift local down',
    );
  }
}

async function stopEverything(story: Story): Promise<void> {
  story.parts.application?.kill();
  await story.parts.proxy?.stop();
  await stopEnvironment(demoEnvironment);
  forgetState(demoEnvironment);
}

async function tell(story: Story): Promise<void> {
  for (const [title, work] of chapters) {
    // An error of the application must end the chapter that runs, whatever that waits for.
    const aborted = new Promise<never>((_, reject) => {
      story.signal.addEventListener('abort', () => reject(story.signal.reason), { once: true });
    });
    aborted.catch(() => {});
    story.signal.throwIfAborted();
    await story.narrator.step(title, () => Promise.race([work(story), aborted]));
  }
}

async function main(keep: boolean): Promise<void> {
  const interruption = abortOnSignals();
  const narrator = new Narrator(chapters.length, (text) => process.stdout.write(text), Date.now);
  const { java } = await prepare((line) => narrator.print(line));
  await requireNothingRunning();
  const story: Story = {
    environment: demoEnvironment,
    java,
    narrator,
    signal: interruption.signal,
    fail: (error) => interruption.abort(error),
    facts: [],
    parts: {},
  };
  let kept = false;
  try {
    await tell(story);
    // With --keep the application ends all the same: it is the story's, the clusters are the user's.
    const report = await story.parts.application?.stop();
    if (!report || report.errors > 0)
      throw new RunFailedError(`the application saw ${report?.errors ?? 'unknown'} errors`);
    for (const line of formatTable([...stepFacts(narrator.steps, narrator.elapsedSeconds)])) narrator.print(line);
    for (const line of formatTable([...story.facts, ...applicationFacts(report)])) narrator.print(line);
    narrator.print('The migration is complete: the application runs on the target alone and never saw an error.');
    kept = keep;
    if (keep)
      for (const line of [...howToConnect(story.environment), ...shellEnvironment(story.environment)])
        narrator.print(line);
  } finally {
    if (!kept) await stopEverything(story);
  }
  if (!keep) narrator.print('Everything is stopped. Run it with `npm run demo -- --keep` to look around afterwards.');
  if (kept) story.parts.proxy?.release();
}

try {
  await main(process.argv.includes('--keep'));
} catch (error) {
  process.stderr.write(`\nThe demo ended early: ${describeError(error)}\n`);
  process.exitCode = error instanceof PrerequisiteError ? 2 : error instanceof InterruptedError ? 130 : 1;
}
