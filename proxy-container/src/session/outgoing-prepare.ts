import { FrameFlag } from '#core/cql/protocol.ts';
import { encodePrepare } from '#core/cql/request-messages.ts';
import type { PreparedEntry } from '../requests/prepared-statements.ts';
import type { OutgoingRequest } from '../upstream/upstream-call.ts';
import { withBody } from './replies.ts';

/** A client's PREPARE as the clusters get it: with markers in the place of functions, where there are any. */
export function outgoingPrepare(
  frame: Buffer,
  entry: PreparedEntry,
  version: number,
  keyspace: string | undefined,
): OutgoingRequest {
  const isChanged = entry.inserted.length > 0;
  // The new body has no custom payload in front.
  const changed = isChanged
    ? withBody(frame, [encodePrepare(entry.text, version, keyspace)], FrameFlag.CUSTOM_PAYLOAD)
    : frame;
  return { entries: [], frameFor: () => changed, forgetFrames: () => undefined };
}
