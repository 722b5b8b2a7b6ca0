/** `gates:` of the configuration: when a change of the phase is refused. */
import { z } from 'zod';

export const gatesSchema = z
  .strictObject({
    quietMinutes: z
      .number()
      .min(0)
      .max(10_080)
      .default(10)
      .describe('So long no shadow write may have failed before the primary changes'),
    maxQueueAgeSecs: z
      .int()
      .min(0)
      .max(86_400)
      .default(5)
      .describe('So old the oldest failed write in the queue may be for dual-sync'),
    keyspaces: z
      .array(z.string().min(1).max(48))
      .max(1000)
      .nullable()
      .default(null)
      .describe("Whose tables must be equal, loaded and validated; null: all of the origin's but the system's"),
  })
  .prefault({});
export type GatesConfig = z.output<typeof gatesSchema>;
