/** The thread of a journal: everything about failed writes that would keep the other thread from its clients. */
import { getPriority, setPriority } from 'node:os';
import { parentPort, workerData } from 'node:worker_threads';
import { hasQueue, openQueue } from '../processes/open-queue.ts';
import { JournalCore } from './journal-core.ts';
import type { JournalSettings, ToJournal } from './journal-protocol.ts';
import { queueWhenOpen } from './queue-when-open.ts';

/** Below the thread that serves clients, where both have one core; of 19 levels. */
const BELOW = 10;
const LOWEST = 19;

// Linux means by "this process" the thread that calls.
if (process.platform === 'linux') {
  try {
    setPriority(Math.min(LOWEST, getPriority() + BELOW));
  } catch {
    // A sandbox that does not permit it: the threads share the core evenly.
  }
}

const settings = workerData as JournalSettings;
const port = parentPort!;
const waiting: ToJournal[] = [];
let receive = (message: ToJournal): void => void waiting.push(message);
port.on('message', (message: ToJournal) => receive(message));

const core = new JournalCore({
  settings,
  queue: hasQueue(settings.stores) ? queueWhenOpen(async () => (await openQueue(settings.stores))!) : null,
  // Pauses end when they should, whatever is done to the clock meanwhile.
  clock: { nowMillis: () => Math.floor(performance.timeOrigin + performance.now()) },
  post: (message) => {
    port.postMessage(message);
    if (message.kind === 'stopped') port.close();
  },
});
receive = (message) => core.receive(message);
for (const message of waiting.splice(0)) core.receive(message);
