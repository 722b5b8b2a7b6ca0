import type { WrittenTables } from '../journal/written-tables.ts';
import type { PhaseGate } from '../phase/phase-gate.ts';
import type { ClientRequest } from '../requests/client-request.ts';
import type { HeldRequest } from '../requests/holding-room.ts';
import { isMutation } from '../requests/route.ts';
import { ownBytes } from '../transport/own-bytes.ts';
import { tablesOf } from '../writes/treat-request.ts';

/** What requests wait for, and what those are told that wait in vain, or find no room. */
interface WaitingPlace {
  readonly room: { hold(request: HeldRequest): boolean; drop(request: HeldRequest): void };
  readonly late: string;
  readonly full: string;
}

const UNTIL_NEXT_PHASE = {
  late: 'the phase of the migration is changing',
  full: 'too many requests wait for the change of phase',
};
const UNTIL_TOLD = {
  late: 'the ledger was not told of the table in time',
  full: 'too many requests wait for the ledger to know their tables',
};

export interface HeldRequestsOptions {
  readonly gate: PhaseGate;
  readonly writtenTables: WrittenTables | undefined;
  /** A client waits no longer than this for an answer. */
  readonly timeoutMs: number;
  /** Takes the request up as if it came now. Does not throw. */
  readonly run: (frame: Buffer, streamId: number) => void;
  readonly refuse: (streamId: number, message: string) => void;
}

interface Held extends HeldRequest {
  readonly room: WaitingPlace['room'];
  readonly streamId: number;
  readonly timer: NodeJS.Timeout;
}

/** The requests of one client that wait for something that concerns all clients: each is taken up, refused, or dropped with its client. */
export class HeldRequests {
  readonly #options: HeldRequestsOptions;
  readonly #held = new Set<Held>();

  constructor(options: HeldRequestsOptions) {
    this.#options = options;
  }

  get count(): number {
    return this.#held.size;
  }

  /** Keeps a request until the next phase is in force. */
  holdForPhase(frame: Buffer, streamId: number): void {
    this.#hold(frame, streamId, { room: this.#options.gate, ...UNTIL_NEXT_PHASE });
  }

  /**
   * Keeps a request that writes, or prepares that, until the ledger knows of its tables. False: it does. Usual writes need not
   * ask: no cluster has a name for a statement before it came by here.
   */
  holdIfUntold(
    writes: Pick<ClientRequest, 'requestClass' | 'statements' | 'keyspace'>,
    frame: Buffer,
    streamId: number,
  ): boolean {
    const { writtenTables } = this.#options;
    if (writtenTables === undefined || !isWrite(writes)) return false;
    const entry = writes.statements.length === 1 ? writes.statements[0]!.entry : undefined;
    if (entry?.isAnnounced) return false;
    if (writtenTables.mayWrite(tablesOf(writes))) {
      if (entry) entry.isAnnounced = true;
      return false;
    }
    this.#hold(frame, streamId, { room: writtenTables, ...UNTIL_TOLD });
    return true;
  }

  /** Keeps a request, or refuses it at once where there is no room. */
  #hold(frame: Buffer, streamId: number, { room, late, full }: WaitingPlace): void {
    const { run, refuse, timeoutMs } = this.#options;
    const kept = ownBytes(frame);
    const held: Held = {
      room,
      byteCount: kept.length,
      streamId,
      timer: setTimeout(() => {
        this.#forget(held);
        refuse(streamId, late);
      }, timeoutMs),
      run: () => {
        // Its client may have gone while those before it were run.
        if (!this.#held.has(held)) return;
        this.#forget(held);
        run(kept, streamId);
      },
    };
    if (room.hold(held)) {
      this.#held.add(held);
      return;
    }
    clearTimeout(held.timer);
    refuse(streamId, full);
  }

  /** Answers all of them: this proxy is going away. */
  refuseAll(message: string): void {
    for (const held of this.#held) {
      this.#forget(held);
      this.#options.refuse(held.streamId, message);
    }
  }

  /** Forgets all of them: nobody waits for an answer, so nothing may be applied. */
  drop(): void {
    for (const held of this.#held) this.#forget(held);
  }

  #forget(held: Held): void {
    clearTimeout(held.timer);
    this.#held.delete(held);
    held.room.drop(held);
  }
}

/** Whether an instance that vanishes may have brought it to one cluster only. */
function isWrite({ requestClass, statements }: Pick<ClientRequest, 'requestClass' | 'statements'>): boolean {
  return isMutation(requestClass) || statements[0]?.statement.kind === 'truncate';
}
