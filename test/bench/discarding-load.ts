/** The second half of a load, from merged rows to requests, with a target that takes time and keeps nothing. */

import { setTimeout as delay } from 'node:timers/promises';
import { migrationConfigSchema } from '#core/config/schema.ts';
import { writeBudgetBytes } from '#core/jobs/memory-budget.ts';
import { PartitionCopy } from '#core/jobs/partition-copy.ts';
import { TargetWriter } from '#core/jobs/target-writer.ts';
import { createGrouping } from '#core/merge/group-writes.ts';
import { tombstonePolicy } from '#core/merge/load-policies.ts';
import { OrdinaryRows } from '#core/merge/ordinary-row.ts';
import { createToStatements } from '#core/merge/statements.ts';
import { Consistency } from '#core/model/cql-request.ts';
import type { PartitionCursor } from '#core/model/row.ts';
import type { TableSchema } from '#core/model/table-schema.ts';
import type { LoadSession } from '#core/ports.ts';
import { preparedOf } from '../support/load-session.ts';

/** What a load may have if the configuration says nothing. */
export const DEFAULT_BUDGET_BYTES = migrationConfigSchema.shape.bulkLoad.parse({}).memoryBudgetMB * 1024 * 1024;
const ANSWER_MS = 5;

/** Loads all that the cursor has; resolves to the rows and statements that there were. */
export async function loadIntoNothing(
  cursor: PartitionCursor,
  schema: TableSchema,
  budgetBytes = DEFAULT_BUDGET_BYTES,
) {
  const refuse = async (): Promise<never> => {
    throw new Error('a load sends batches only');
  };
  const target: LoadSession = {
    protocolVersion: 5,
    query: refuse,
    execute: refuse,
    batch: refuse,
    prepare: async (text) => preparedOf(text),
    async sendBatch(body) {
      // As a connection does: the frame is a copy that lives until the answer.
      const frame = Buffer.from(body);
      await delay(ANSWER_MS, frame);
    },
    replicaSet: () => 0,
    close: async () => undefined,
  };
  const logger = { debug: () => undefined, info: () => undefined, warn: () => undefined, error: () => undefined };
  const clock = { nowMillis: Date.now };
  const nowSeconds = () => 1_800_000_000;
  const exactTimes = true;
  const toStatements = createToStatements(schema);
  const writer = new TargetWriter<undefined>(
    { target, clock, logger, sleep: async () => undefined },
    {
      table: `${schema.keyspace}.${schema.table}`,
      toStatements,
      consistency: Consistency.ONE,
      exactTimes,
      bytesPerSecond: 1e12,
      maxBytesInFlight: writeBudgetBytes(budgetBytes),
      listAttempt: 0,
    },
  );
  const ordinary = new OrdinaryRows(schema, { exactTimes, nowSeconds });
  const group = createGrouping(schema, { keepsTombstone: tombstonePolicy('all', undefined), exactTimes, nowSeconds });
  const copy = new PartitionCopy<undefined>(
    { target, clock, writer },
    { schema, filter: undefined, ordinary, group, toStatements, exactTimes },
  );
  for (;;) {
    const event = cursor.next();
    if (event === undefined) {
      if (await cursor.fill()) continue;
      break;
    }
    if (event.kind === 'partition') copy.start(event, undefined, false);
    const wait = copy.accept(event);
    if (wait !== undefined) await wait;
  }
  await copy.flush();
  await writer.finish();
  return { rows: copy.counts.rows, statements: writer.counts.statements };
}
