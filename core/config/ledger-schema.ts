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
  ])
  .prefault({ kind: 'file', path: '.ringshift/ledger' });
export type LedgerConfig = z.output<typeof ledgerSchema>;
