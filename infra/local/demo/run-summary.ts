import { z } from 'zod';

/** The fields of a run's summary that the demo shows. */
export const runSummary = z.object({
  runId: z.string(),
  status: z.enum(['done', 'failed', 'differences']),
  seconds: z.number(),
  rangeCount: z.number(),
  totals: z.record(z.string(), z.number()),
});
export type RunSummaryShown = z.output<typeof runSummary>;

/** `rows 1,200, cells 4,800`: counts that are not zero, as the run named them. */
export function formatCounts(counts: Readonly<Record<string, number>>): string {
  const shown = Object.entries(counts).filter(([, count]) => count !== 0);
  return shown.map(([name, count]) => `${inWords(name)} ${count.toLocaleString('en-US')}`).join(', ');
}

const inWords = (name: string): string => name.replaceAll(/([A-Z])/g, (letter) => ` ${letter.toLowerCase()}`);
