import fc from 'fast-check';
import { expect, test } from 'vitest';
import { hasItsShare, SMALL_SHARE } from '../../../proxy-container/src/session/fair-share.ts';
import { DEFAULT_STREAM_IDS } from '../../../proxy-container/src/transport/stream-ids.ts';
import type { UpstreamConnection } from '../../../proxy-container/src/upstream/upstream-connection.ts';

/** All that is looked at. */
const taken = (inFlightCount: number) => ({ inFlightCount }) as UpstreamConnection;

/** Gives ids to clients in turn, as many as each of them gets. */
function flood(clientCount: number, connectionCount: number): { shares: number[]; connections: UpstreamConnection[] } {
  const used = Array<number>(connectionCount).fill(0);
  const shares = Array<number>(clientCount).fill(0);
  for (let isGoingOn = true; isGoingOn; ) {
    isGoingOn = false;
    for (const [client, own] of shares.entries()) {
      if (own >= SMALL_SHARE && hasItsShare(own, used.map(taken))) continue;
      const least = used.indexOf(Math.min(...used));
      if (used[least]! >= DEFAULT_STREAM_IDS) continue;
      used[least]!++;
      shares[client]!++;
      isGoingOn = true;
    }
  }
  return { shares, connections: used.map(taken) };
}

test('however many flood the proxy, who comes next finds as much room as each of them has', () => {
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 20 }), fc.integer({ min: 1, max: 2 }), (clients, connections) => {
      const { shares, connections: busy } = flood(clients, connections);
      const total = connections * DEFAULT_STREAM_IDS;
      const fair = Math.floor(total / (clients + 1));
      for (const share of shares) expect(Math.abs(share - fair)).toBeLessThanOrEqual(clients + 1);
      expect(hasItsShare(SMALL_SHARE, busy)).toBe(false);
      expect(hasItsShare(fair - clients - 2, busy)).toBe(false);
    }),
    { numRuns: 12 },
  );
});

test('while nobody is connected a client may wait with as many as one connection would take', () => {
  expect(hasItsShare(DEFAULT_STREAM_IDS - 1, [])).toBe(false);
  expect(hasItsShare(DEFAULT_STREAM_IDS, [])).toBe(true);
});
