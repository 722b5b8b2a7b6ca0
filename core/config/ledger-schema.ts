/** `ledger:` of the configuration: where the halves of a migration keep what they agree on. */
import { z } from 'zod';

export const ledgerSchema = z
  .discriminatedUnion('kind', [
    z.strictObject({
      kind: z.literal('s3'),
      bucket: z.string().min(3),
      prefix: z.string().default('ledger/'),
    }),
    z.strictObject({ kind: z.literal('file'), path: z.string().min(1) }),
    z.strictObject({
      kind: z.literal('cassandra'),
      cluster: z.enum(['origin', 'target']).default('target').describe('Whose nodes, login and consistency it uses'),
      keyspace: z
        .string()
        .regex(/^[a-z]\w{0,47}$/, 'must be the name of a keyspace')
        .default('ringshift')
        .describe('Of its own; ringshift state init creates its tables'),
      replication: z
        .string()
        .regex(/^\s*\{[^{}]*\}\s*$/, "must be a CQL map such as {'class': 'NetworkTopologyStrategy', 'dc1': 3}")
        .nullable()
        .default(null)
        .describe('With which ringshift state init creates the keyspace; null: it is there'),
      bucket: z
        .string()
        .min(3)
        .nullable()
        .default(null)
        .describe('Where plans, reports and large messages are; null: a directory, for one machine'),
    }),
  ])
  .prefault({ kind: 'file', path: '.ringshift/ledger' });
export type LedgerConfig = z.output<typeof ledgerSchema>;

/** The bucket of plans, reports and large messages; undefined: they are in a directory. */
export function bucketOf(ledger: LedgerConfig): string | undefined {
  return ledger.kind === 'file' ? undefined : (ledger.bucket ?? undefined);
}
