import { Worker } from 'node:worker_threads';
import { describeError } from '#core/errors.ts';
import type { FromJournal, StartJournalThread } from './journal-protocol.ts';

/** In a bundle it is a program of its own, beside this one. */
const ENTRY = import.meta.url.endsWith('.ts') ? './journal-worker.ts' : './journal-worker.mjs';
/** Far above what it needs; without a limit a fault in it would take the memory of the whole process. */
const MAX_HEAP_MB = 512;

/** Starts the journal in a thread of its own. */
export const startThread: StartJournalThread = (settings, { onMessage, onGone }) => {
  const worker = new Worker(new URL(ENTRY, import.meta.url), {
    workerData: settings,
    name: 'journal',
    // What the process was started with is meant for its main thread.
    execArgv: [],
    resourceLimits: { maxOldGenerationSizeMb: MAX_HEAP_MB },
  });
  let why: string | undefined;
  worker.on('message', (message: FromJournal) => onMessage(message));
  worker.on('error', (error) => {
    why = describeError(error);
  });
  worker.on('exit', (code) => onGone(why ?? `it has ended with code ${code}`));
  // A process that has nothing else to do must be able to end.
  worker.unref();
  return { post: (message) => worker.postMessage(message), end: () => void worker.terminate() };
};
