/** `failedWrites:` of the configuration: journal, queue and replay of shadow writes that failed. */
import { z } from 'zod';

export const failedWritesSchema = z
  .strictObject({
    kind: z
      .enum(['sqs', 'directory'])
      .default('sqs')
      .describe('Of the queue; directory: for a single machine, replayed by ringshift replay run --local --follow'),
    queueUrl: z.string().nullable().default(null).describe('Of kind sqs; null: failed writes stay in the journal'),
    path: z
      .string()
      .min(1)
      .nullable()
      .default(null)
      .describe('Of kind directory: where it lies, relative to where the command runs'),
    maxMB: z
      .int()
      .min(16)
      .max(1_048_576)
      .default(10_240)
      .describe('Of kind directory: once it is so full, failed writes stay in the journal'),
    journalDir: z.string().default('.ringshift/journal'),
    inFlightDir: z
      .string()
      .min(1)
      .nullable()
      .default(null)
      .describe('Of the log of writes under way; null: beside the journal. May be in memory (tmpfs)'),
    storage: z
      .enum(['volume', 'ephemeral'])
      .nullable()
      .default(null)
      .describe('Whether the disk outlives the instance; null: ephemeral on Cloud Run, else volume'),
    journalMaxMB: z.int().min(16).max(1_048_576).default(1024).describe('Of each process'),
    journalKey: z
      .string()
      .min(1)
      .nullable()
      .default(null)
      .describe('Secret reference (file:PATH, secretsmanager:NAME) of 32 bytes in base64 that encrypt the journal'),
    previousJournalKeys: z.array(z.string().min(1)).max(10).default([]).describe('Still read, not written'),
    retryIntervalSecs: z
      .int()
      .min(1)
      .max(3600)
      .default(60)
      .describe('Before the second attempt of a write that the cluster refused; each further one doubles it'),
    maxAttempts: z.int().min(1).max(100).default(3).describe('Attempts that the cluster answered'),
    batchSize: z.int().min(1).max(1000).default(100).describe('Messages that one call of the replay function gets'),
    batchWindowSecs: z.int().min(0).max(300).default(1).describe('How long a batch is waited for'),
    bundleKB: z.int().min(1).max(1000).default(200).describe('Failed writes that travel in one message, together'),
    replayPerSecond: z.number().positive().max(1_000_000).default(500).describe('Writes, of all calls together'),
    replayConcurrency: z.int().min(2).max(1000).default(4).describe('Calls of the replay function at a time'),
    probeSecs: z
      .int()
      .min(1)
      .max(3600)
      .default(60)
      .describe(
        'How often a cluster that does not answer is asked whether it is back; in AWS whole minutes, rounded up',
      ),
    tombstoneMarginSecs: z
      .int()
      .min(0)
      .max(8_640_000)
      .default(86_400)
      .describe('A write older than gc_grace_seconds less this is not replayed: its partition is copied'),
  })
  .superRefine((value, context) => {
    const fault = (path: string, message: string) => context.addIssue({ code: 'custom', path: [path], message });
    if (value.kind === 'directory' && value.path === null) fault('path', 'say where the directory lies');
    if (value.kind === 'directory' && value.queueUrl !== null) {
      fault('queueUrl', 'is of kind sqs; leave it out, or leave out the kind');
    }
    if (value.kind === 'sqs' && value.path !== null) fault('path', 'is of kind directory; write kind: directory');
  })
  .prefault({});
export type FailedWritesConfig = z.output<typeof failedWritesSchema>;
