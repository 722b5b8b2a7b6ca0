import { opcodeOf } from '#core/cql/frame.ts';
import { Opcode } from '#core/cql/protocol.ts';
import { NOT_NOTED } from '../in-flight/in-flight-port.ts';
import type { ClientRequest } from '../requests/client-request.ts';
import type { RequestContext } from '../requests/request-context.ts';
import type { Route } from '../requests/route.ts';
import { isNamedAlike, UsualRequest } from '../requests/usual-request.ts';
import type { LostReason, UpstreamConnection } from '../upstream/upstream-connection.ts';
import { newLink } from './shadow-queue.ts';
import type { UsualClient, UsualWrites } from './usual-write.ts';

const NO_ROUTE: Route = { primary: 'origin', shadow: undefined, isSync: false };

/** A usual write: first under way to the primary, then to the shadow. */
export class UsualWrite extends UsualRequest {
  client: UsualClient | undefined;
  route = NO_ROUTE;
  /** @see ClientRequest.lateAfterMs */
  lateAfterMs = Number.POSITIVE_INFINITY;
  /** The copy is under way. */
  isCopying = false;
  /** Its number in the log of writes under way. */
  sequence = NOT_NOTED;
  readonly link = newLink();
  readonly #writes: UsualWrites;

  constructor(writes: UsualWrites) {
    super();
    this.#writes = writes;
  }

  override clear(): void {
    super.clear();
    this.client = undefined;
    this.isCopying = false;
    this.sequence = NOT_NOTED;
  }

  /** What was noted is not noted again. */
  override toRequest(context: RequestContext, version: number): ClientRequest {
    const request = super.toRequest(context, version);
    request.sequence = this.sequence;
    request.lateAfterMs = this.lateAfterMs;
    return request;
  }

  sendCopy(connection: UpstreamConnection, timeoutMs: number): boolean {
    const shadow = this.route.shadow!;
    // Prepared anew meanwhile, it may be called otherwise.
    return isNamedAlike(this.entry!, shadow) && this.sendTo(shadow, connection, timeoutMs);
  }

  override onBytes(bytes: Buffer, start: number, end: number): boolean {
    if (bytes[start + 4] !== Opcode.RESULT) return false;
    if (this.isCopying) this.#writes.copied(this);
    else this.#writes.applied(this, bytes, start, end);
    return true;
  }

  override onReply(frame: Buffer): void {
    if (opcodeOf(frame) === Opcode.RESULT) this.onBytes(frame, 0, frame.length);
    else this.#writes.goOn(this).onReply(frame);
  }

  override onLost(reason: LostReason): void {
    this.#writes.goOn(this).onLost(reason);
  }
}
