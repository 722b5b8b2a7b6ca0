import { z } from 'zod';
import type { RunSummary } from '#core/jobs/summarize-run.ts';

/** What Step Functions hands to a catcher. */
export interface Failure {
  readonly error: string;
  readonly message: string;
}

const caught = z.object({ Error: z.string().optional(), Cause: z.string().optional() });
const lambdaCause = z.object({ errorType: z.string().optional(), errorMessage: z.string() });

/** Most of an execution's cause that people read; the service allows 32,768 characters. */
const MAX_CAUSE_CHARACTERS = 4_000;
const MAX_RANGES_LISTED = 5;

/** Takes the caught error apart; the cause of a Lambda error is JSON inside the text. */
export function parseFailure(value: unknown): Failure | undefined {
  const parsed = caught.safeParse(value);
  if (value === undefined || value === null || !parsed.success) return undefined;
  const { Error: error = 'unknown', Cause: cause = '' } = parsed.data;
  const detail = lambdaCause.safeParse(parseJson(cause));
  if (!detail.success) return { error, message: cause };
  return { error: detail.data.errorType ?? error, message: detail.data.errorMessage };
}

/** One text for the Fail state: what failed, and what to do. Empty when nothing did. */
export function causeOf(
  runId: string,
  kind: 'load' | 'validation',
  failure: Failure | undefined,
  summary?: RunSummary,
): string {
  const lines: string[] = [];
  const failed = summary?.failed ?? [];
  if (summary === undefined || (failure !== undefined && failed.length === 0)) {
    lines.push(`${runId} failed: ${failure?.message ?? 'no run was planned'}`);
  }
  if (failed.length > 0) {
    // Something other than a range: dropping the indexes, for one.
    if (failure !== undefined && !failure.error.startsWith('States.'))
      lines.push(`${runId} failed: ${failure.message}`);
    lines.push(`${runId}: ${failed.length} of ${summary?.rangeCount} ranges failed`);
    for (const { index, table, error } of failed.slice(0, MAX_RANGES_LISTED)) {
      lines.push(`  range ${index} of ${table}: ${error.name}: ${error.message.slice(0, 500)}`);
    }
    if (failed.length > MAX_RANGES_LISTED) lines.push(`  and ${failed.length - MAX_RANGES_LISTED} more`);
  }
  const owed = summary?.owedIndexes ?? [];
  if (owed.length > 0) {
    lines.push(`${runId}: secondary indexes of the target are dropped and not back: ${owed.slice(0, 20).join(', ')}`);
    lines.push(
      'Their definitions are in the ledger; restore them: ringshift indexes restore (one that nobody wants any more: ringshift indexes forget KS.TABLE NAME)',
    );
  }
  if (lines.length === 0) return '';
  const isLoaded = failure === undefined && failed.length === 0 && owed.length > 0;
  if (!isLoaded) lines.push(wayOn(runId, kind, summary !== undefined));
  return lines.join('\n').slice(0, MAX_CAUSE_CHARACTERS);
}

/** Of a run whose data is through, and which only owes indexes, there is nothing to repeat. */
function wayOn(runId: string, kind: 'load' | 'validation', hasSummary: boolean): string {
  const start = kind === 'load' ? 'ringshift load start' : 'ringshift validate start';
  if (!hasSummary) return `Remove the cause, then start again: ${start}`;
  return kind === 'load'
    ? `Remove the cause, then go on: ringshift load resume ${runId}`
    : `Remove the cause, then start it again (${start}); what is done is harmless to repeat.`;
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
