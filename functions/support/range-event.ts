import { z } from 'zod';

/** The token as a decimal text, or how many partitions are finished; the job that wrote it knows which. */
const checkpoint = z.string().regex(/^-?\d{1,19}$/);

/** An item of a plan as the Distributed Map passes it on, with the checkpoint of an earlier call. */
export const rangeEventSchema = z.object({
  runId: z.string().min(1).max(200),
  index: z.int().min(0),
  keyspace: z.string().min(1),
  table: z.string().min(1),
  start: z.string(),
  end: z.string(),
  places: z
    .array(z.object({ start: z.string(), end: z.string() }))
    .min(1)
    .optional(),
  bytes: z.number().min(0),
  tableKey: z.string().min(1).max(1024),
  checkpoint: checkpoint.optional(),
});

/** How a job on a range ends. */
type Outcome = { readonly kind: 'done' } | { readonly kind: 'checkpoint'; readonly next: string };

/** What the state machine gets: done with a range, or the same item with the place to go on from. */
export function toRangeResult<Item extends { readonly index: number }>(item: Item, outcome: Outcome) {
  return outcome.kind === 'done'
    ? { index: item.index, status: 'done' as const }
    : { ...item, status: 'checkpoint' as const, checkpoint: outcome.next };
}
