import { types } from 'cassandra-driver';
import { z } from 'zod';
import { RunFailedError } from '#core/errors.ts';
import { administrator, connectTo } from '../cluster-roles.ts';
import { filteredTenant } from '../local-migration.ts';
import { uuidOf } from './identity.ts';
import { compareIndependently } from './independent-check.ts';
import { compareMultiCells } from './multi-cell-check.ts';
import { ringshift } from './product.ts';
import { formatCounts, type RunSummaryShown, runSummary } from './run-summary.ts';
import { part, pause, type Story, thousands } from './story.ts';
import { insertAsset, keyspaces } from './tables.ts';

/** Exit code of a validation that found differences: a result, not a failure. */
const FOUND = 1;

async function validate(story: Story, keyspace: string): Promise<RunSummaryShown> {
  const { json } = await ringshift(
    part(story, 'product'),
    ['validate', 'start', '--keyspace', keyspace, '--wait'],
    runSummary,
    { allowed: [0, FOUND] },
  );
  if (json.status === 'failed') throw new RunFailedError(`the validation of ${keyspace} did not come to its end`);
  return json;
}

/** The same state machine that the schedule starts; every partition of every table. */
export async function validateClean(story: Story): Promise<void> {
  let partitions = 0;
  for (const keyspace of keyspaces) {
    const summary = await validate(story, keyspace);
    if (summary.status !== 'done') {
      throw new RunFailedError(
        `${keyspace} differs: ${formatCounts(summary.totals)}\n${await differences(story, summary.runId)}`,
      );
    }
    partitions += summary.totals['partitions'] ?? 0;
    story.narrator.say(`${keyspace}: no difference; ${formatCounts(summary.totals)} (${summary.seconds.toFixed(1)} s)`);
  }
  story.facts.push(['validation: partitions compared, differences', `${thousands(partitions)}, 0`]);
}

const reportShape = z.object({
  differences: z.array(z.looseObject({ table: z.string(), key: z.unknown(), kind: z.string() })),
});

async function readReport(story: Story, runId: string): Promise<z.output<typeof reportShape>['differences']> {
  const { json } = await ringshift(part(story, 'product'), ['validate', 'report', runId], reportShape, {
    allowed: [0, FOUND],
  });
  return json.differences;
}

async function differences(story: Story, runId: string): Promise<string> {
  const found = await readReport(story, runId);
  return found
    .slice(0, 10)
    .map((difference) => JSON.stringify(difference))
    .join('\n');
}

/** Rows that neither the seed's later rounds nor the live application touch. */
const damaged = [uuidOf('asset', -1), uuidOf('asset', -2), uuidOf('damage', 1)] as const;

/** The first two exist on both clusters before they are damaged; they come through the proxy as all data does. */
export async function writeRowsToDamage(story: Story): Promise<void> {
  const client = connectTo({ address: story.environment.proxyAddress, port: 9042 }, administrator);
  try {
    for (const id of damaged.slice(0, 2)) await client.execute(insertAsset, assetOf(id, 'whole'), { prepare: true });
  } finally {
    await client.shutdown();
  }
}

function assetOf(id: string, status: string): unknown[] {
  return [types.Uuid.fromString(id), 'To be damaged', 'video', 1, 'h264', 1, status, new Date(1_700_000_000_000)];
}

/** Three rows of the target: one changed, one deleted, one that the origin does not have. */
export async function damageTarget(story: Story): Promise<void> {
  const client = connectTo(story.environment.target, administrator);
  const [changed, deleted, extra] = damaged;
  try {
    const update = 'UPDATE iconik_production.media_assets SET status = ? WHERE id = ?';
    await client.execute(update, ['damaged', types.Uuid.fromString(changed)], { prepare: true });
    const remove = 'DELETE FROM iconik_production.media_assets WHERE id = ?';
    await client.execute(remove, [types.Uuid.fromString(deleted)], { prepare: true });
    await client.execute(insertAsset, assetOf(extra, 'not of the origin'), { prepare: true });
  } finally {
    await client.shutdown();
  }
  story.narrator.say('on the target alone: one row changed, one deleted, one added');
}

/** Validation names exactly those three; reconciling makes them right; validating again finds nothing. */
export async function findAndReconcile(story: Story): Promise<void> {
  const keyspace = 'iconik_production';
  // A difference younger than the time that a write may need is not judged yet.
  await pause(story, 3000);
  const summary = await validate(story, keyspace);
  const found = await readReport(story, summary.runId);
  const text = JSON.stringify(found);
  const named = damaged.filter((id) => text.includes(id));
  if (found.length !== damaged.length || named.length !== damaged.length) {
    throw new RunFailedError(
      `validation should name the three damaged rows and nothing else, but says: ${text.slice(0, 2000)}`,
    );
  }
  for (const { table, key, kind } of found) story.narrator.say(`found: ${table} ${JSON.stringify(key)}: ${kind}`);
  await ringshift(part(story, 'product'), ['reconcile', summary.runId, '--wait'], z.unknown());
  const after = await validate(story, keyspace);
  if (after.status !== 'done') {
    throw new RunFailedError(
      `after reconciling: ${formatCounts(after.totals)}\n${await differences(story, after.runId)}`,
    );
  }
  story.narrator.say('reconciled; validated again: no difference');
  story.facts.push(['damage on purpose: rows found, reconciled', `${found.length}, ${found.length}`]);
}

/** The Python driver and Cassandra's sstabledump, neither of which shares code with the product. */
export async function checkIndependently(story: Story): Promise<void> {
  const { environment, java, narrator, signal } = story;
  const tables = await compareIndependently(environment, signal);
  let rows = 0;
  let cells = 0;
  for (const table of tables) {
    rows += table.rows;
    cells += table.cells;
    const filtered = table.filteredRows > 0 ? `, ${table.filteredRows} of the filtered tenant on the origin alone` : '';
    narrator.say(
      `${table.table}: ${thousands(table.rows)} rows in ${thousands(table.partitions)} partitions, ` +
        `${thousands(table.expiring)} expiring${filtered}, ${table.differenceCount} differ`,
    );
  }
  const wrong = tables.filter((table) => table.differenceCount > 0 || table.filteredOnTarget > 0);
  if (wrong.length > 0) {
    throw new RunFailedError(
      `the independent reader found differences:\n${JSON.stringify(wrong, null, 1).slice(0, 4000)}`,
    );
  }
  const multiCell = await compareMultiCells(java, environment);
  if (multiCell.differenceCount > 0) {
    throw new RunFailedError(
      `sstabledump of both sides: ${multiCell.differenceCount} cells differ:\n${multiCell.differences.join('\n')}`,
    );
  }
  narrator.say(
    `sstabledump of both sides: ${thousands(multiCell.compared)} cells of multi-cell columns and their rows are equal`,
  );
  if (!tables.some((table) => table.table === 'files_keyspace.files' && table.filteredRows > 0)) {
    throw new RunFailedError(`the row of tenant ${filteredTenant} is not on the origin any more`);
  }
  story.facts.push(['independent check: rows / cells, with write times', `${thousands(rows)} / ${thousands(cells)}`]);
  story.facts.push(['sstabledump check: cells, with write times and expiry', thousands(multiCell.compared)]);
}
