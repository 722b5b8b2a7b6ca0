/**
 * The queue of failed writes in a directory: for one machine, without AWS. Every message is a file whose name says all but
 * its body, so that each change of it is one rename: whoever renames it has it, and a process killed at any moment leaves
 * it either as it was or as it should be.
 */
import { randomUUID } from 'node:crypto';
import { mkdir, open, readdir, readFile, rename, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { MessageInvalidError, ObjectStoreError } from '#core/errors.ts';
import type { DeadMessage, ReceivedMessage, ReplayQueue } from './replay-queue.ts';
import { syncDirectory } from './sync-directory.ts';

/** Longer than a batch takes: a consumer that has not ended a message by then is dead. Seconds. */
const VISIBILITY_SECONDS = 300;
const MAX_RECEIVE = 10;

/** How long a listing counts for the bound; what this process adds is counted at once. Milliseconds. */
const LISTED_MS = 1_000;

/** No wait is longer: what seems to be due later was delayed by a clock that was wrong. Milliseconds. */
const MAX_WAIT_MS = 3_600_000;
const ABANDONED_MS = 3_600_000;

interface DirectoryQueueOptions {
  readonly path: string;
  /** Sending fails once the messages are so large together. */
  readonly maxBytes: number;
  readonly nowMillis?: () => number;
}

/** What the name of a file says. */
interface Entry {
  readonly dueMillis: number;
  /** `f`: a consumer has it, until it is due again. */
  readonly state: 'w' | 'f';
  readonly sentMillis: number;
  readonly receives: number;
  readonly bytes: number;
  readonly id: string;
}

const NAME = /^(\d{13})\.([wf])\.(\d{13})\.(\d{1,9})\.(\d{1,12})\.([\w-]{1,64})$/;

function nameOf({ dueMillis, state, sentMillis, receives, bytes, id }: Entry): string {
  return [millis(dueMillis), state, millis(sentMillis), receives, bytes, id].join('.');
}

const millis = (value: number) => String(Math.max(0, Math.floor(value))).padStart(13, '0');

function parseName(name: string): Entry | undefined {
  const [, due, state, sent, receives, bytes, id] = NAME.exec(name) ?? [];
  if (id === undefined) return undefined;
  return {
    dueMillis: Number(due),
    state: state as Entry['state'],
    sentMillis: Number(sent),
    receives: Number(receives),
    bytes: Number(bytes),
    id,
  };
}

/** @param options `path` is created when missing, readable by its owner alone */
export async function openDirectoryQueue(options: DirectoryQueueOptions): Promise<ReplayQueue> {
  const { path, maxBytes, nowMillis = Date.now } = options;
  const waiting = join(path, 'messages');
  const dead = join(path, 'dead');
  const temporary = join(path, 'tmp');
  for (const directory of [waiting, dead, temporary]) await mkdir(directory, { recursive: true, mode: 0o700 });
  await sweep(temporary, nowMillis());

  let counted = { atMillis: Number.NEGATIVE_INFINITY, bytes: 0 };
  let due: string[] = [];

  const list = async () => (await readdir(waiting)).sort();
  const isDue = ({ dueMillis }: Entry, now: number) => dueMillis <= now || dueMillis - now > MAX_WAIT_MS;

  async function makeRoomFor(added: number): Promise<void> {
    if (nowMillis() - counted.atMillis > LISTED_MS) {
      const all = await list();
      const ofDead = (await readdir(dead)).reduce((sum, name) => sum + (Number(name.split('.')[1]) || 0), 0);
      const bytes = all.reduce((sum, name) => sum + (parseName(name)?.bytes ?? 0), ofDead);
      counted = { atMillis: nowMillis(), bytes };
    }
    if (counted.bytes + added > maxBytes) {
      throw new ObjectStoreError(
        `the queue in ${path} is full; replay it (ringshift replay run --local) or raise failedWrites.maxMB`,
        { context: { path, bytes: counted.bytes } },
      );
    }
    counted.bytes += added;
  }

  async function write(body: string, delaySeconds: number): Promise<void> {
    const now = nowMillis();
    const bytes = Buffer.byteLength(body);
    const dueMillis = now + delaySeconds * 1000;
    const entry: Entry = { dueMillis, state: 'w', sentMillis: now, receives: 0, bytes, id: randomUUID() };
    await writeThrough(temporary, join(waiting, nameOf(entry)), body);
  }

  /** undefined: another consumer was faster. */
  async function claim(name: string, now: number): Promise<ReceivedMessage | undefined> {
    const entry = parseName(name)!;
    const receives = entry.receives + 1;
    const taken = nameOf({ ...entry, state: 'f', receives, dueMillis: now + VISIBILITY_SECONDS * 1000 });
    if (!(await moved(join(waiting, name), join(waiting, taken)))) return undefined;
    const body = await readFile(join(waiting, taken), 'utf8');
    return { id: entry.id, receiptHandle: taken, body, receiveCount: receives, sentAtMillis: entry.sentMillis };
  }

  return {
    isExact: true,
    async send(messages, signal) {
      const tooLarge: string[] = [];
      for (const { id, body } of messages) {
        signal?.throwIfAborted();
        const bytes = Buffer.byteLength(body);
        if (bytes > maxBytes) {
          tooLarge.push(id);
          continue;
        }
        await makeRoomFor(bytes);
        await write(body, 0);
      }
      await syncDirectory(waiting);
      return tooLarge;
    },
    async depth() {
      const now = nowMillis();
      const depth = { waiting: 0, inFlight: 0, deadLetters: (await readdir(dead)).length };
      for (const name of await readdir(waiting)) {
        const entry = parseName(name);
        if (entry === undefined) continue;
        if (entry.state === 'f' && !isDue(entry, now)) depth.inFlight++;
        else depth.waiting++;
      }
      return depth;
    },
    async receive(limit) {
      const now = nowMillis();
      if (due.length === 0) {
        due = (await list()).filter((name) => {
          const entry = parseName(name);
          return entry !== undefined && isDue(entry, now);
        });
      }
      const received: ReceivedMessage[] = [];
      while (received.length < Math.min(limit, MAX_RECEIVE) && due.length > 0) {
        const message = await claim(due.shift()!, now);
        if (message !== undefined) received.push(message);
      }
      return received;
    },
    resolve: async (body) => body,
    async remove(messages) {
      for (const { receiptHandle } of messages) await rm(join(waiting, receiptHandle), { force: true });
    },
    async hide(messages, seconds) {
      for (const { receiptHandle } of messages) {
        const entry = parseName(receiptHandle)!;
        const shown = nameOf({ ...entry, state: 'w', dueMillis: nowMillis() + seconds * 1000 });
        // Gone: its time was over, and another consumer has it.
        await moved(join(waiting, receiptHandle), join(waiting, shown));
      }
    },
    async sendAgain(body, delaySeconds) {
      // Not bounded: it stands for one that leaves.
      await write(body, delaySeconds);
      await syncDirectory(waiting);
    },
    async bury({ id, body, reason }) {
      const name = `${millis(nowMillis())}.${Buffer.byteLength(body)}.${randomUUID()}`;
      await writeThrough(temporary, join(dead, name), JSON.stringify({ id, body, ...(reason ? { reason } : {}) }));
      await syncDirectory(dead);
    },
    async peekDeadLetters(limit) {
      const names = (await readdir(dead)).sort().slice(0, limit);
      return Promise.all(names.map(async (name) => parseDead(name, await readFile(join(dead, name), 'utf8'))));
    },
    async redriveDeadLetters(edit, signal) {
      const names = (await readdir(dead)).sort();
      for (const name of names) {
        signal?.throwIfAborted();
        await write(await edit(parseDead(name, await readFile(join(dead, name), 'utf8')).body), 0);
        await syncDirectory(waiting);
        await rm(join(dead, name), { force: true });
      }
      return { moved: names.length, left: 0 };
    },
    close: () => undefined,
  };
}

function parseDead(name: string, text: string): DeadMessage {
  try {
    const { id, body, reason } = JSON.parse(text) as DeadMessage;
    return { id, body, ...(reason === undefined ? {} : { reason }) };
  } catch (cause) {
    throw new MessageInvalidError(`the dead letter ${name} is no JSON; move the file away`, { cause });
  }
}

/** Writes a file that is there whole or not at all, also after a loss of power once its directory is synced. */
async function writeThrough(temporary: string, path: string, text: string): Promise<void> {
  const draft = join(temporary, randomUUID());
  try {
    const file = await open(draft, 'wx', 0o600);
    try {
      await file.writeFile(text);
      await file.datasync();
    } finally {
      await file.close();
    }
    await rename(draft, path);
  } catch (error) {
    await rm(draft, { force: true }).catch(() => undefined);
    throw error;
  }
}

async function moved(from: string, to: string): Promise<boolean> {
  try {
    await rename(from, to);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return false;
    throw error;
  }
}

/** Removes drafts of processes that were killed while they wrote. */
async function sweep(temporary: string, now: number): Promise<void> {
  for (const name of await readdir(temporary)) {
    const draft = join(temporary, name);
    const touched = await stat(draft).then(
      ({ mtimeMs }) => mtimeMs,
      () => now,
    );
    if (now - touched > ABANDONED_MS) await rm(draft, { force: true });
  }
}
