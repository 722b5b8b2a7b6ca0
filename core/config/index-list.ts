/** `config/indexes.yaml`: which secondary indexes of the target a bulk load drops before and rebuilds after. */

import { z } from 'zod';

const entry = z
  .strictObject({
    keyspace: z.string().min(1).max(48).describe('Keyspace on the target'),
    table: z.string().min(1).max(222).describe('Table on the target'),
    name: z.string().min(1).max(222).optional().describe('One index; leave it out with all: true'),
    all: z.literal(true).optional().describe('Every secondary index of the table'),
    optional: z.boolean().default(false).describe('No fault when the target has no such index'),
  })
  .refine(({ name, all }) => (name === undefined) !== (all === undefined), {
    error: 'needs either name: INDEX or all: true',
  });

/** An empty list is legal: then every index stays where it is. */
export const indexListSchema = z.array(entry).max(10_000).describe('Secondary indexes that a bulk load rebuilds');
export type IndexList = z.output<typeof indexListSchema>;
