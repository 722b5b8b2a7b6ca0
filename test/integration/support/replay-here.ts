/** Replaying in the test's own process, between the real clusters. */
import { setTimeout as delay } from 'node:timers/promises';
import { createCqlSession } from '#adapters/cql/session.ts';
import { createLogger } from '#adapters/logger.ts';
import { replayOptions } from '#adapters/replay-batch.ts';
import { migrationConfigSchema } from '#core/config/schema.ts';
import { createFilter } from '#core/filter/filter.ts';
import { NO_FILTER_RULES } from '#core/filter/filter-rules.ts';
import { type ReplayOptions, replayMessages } from '#core/jobs/replay.ts';
import type { MessageOutcome } from '#core/jobs/replay-bundle.ts';
import { createLedger, type Ledger } from '#core/ledger/ledger.ts';
import type { ClusterName } from '#core/model/cluster-name.ts';
import type { CqlSession } from '#core/ports.ts';
import { createMemoryLedgerStore } from '../../support/memory-ledger-store.ts';
import { CLOSED_BREAKER, delivered } from '../../support/messages.ts';
import { readTestEnvironment } from './test-environment.ts';

export interface ReplayHere {
  readonly ledger: Ledger;
  session(cluster: ClusterName): Promise<CqlSession>;
  /** One outcome for each body. */
  replay(bodies: readonly string[], change?: Partial<ReplayOptions>): Promise<readonly MessageOutcome[]>;
  /**
   * Replays what comes again too, as a queue would hand it out, but at once; resolves to how many messages ended applied
   * and how many dead.
   */
  drain(bodies: readonly string[], change?: Partial<ReplayOptions>): Promise<{ applied: number; dead: number }>;
  close(): Promise<void>;
}

export interface ReplayHereOptions {
  readonly ledger?: Ledger;
  readonly settleMs?: number;
  /** The protocol that sessions are said to speak. */
  readonly version?: number;
}

const MAX_ROUNDS = 30;

export function replayHere({ settleMs = 500, version, ...given }: ReplayHereOptions = {}): ReplayHere {
  const { origin, target, username, password } = readTestEnvironment();
  const config = migrationConfigSchema.parse({
    origin: { contactPoints: [origin.host], port: origin.port },
    target: { contactPoints: [target.host], port: target.port },
    validation: { settleMs },
  });
  const sessions = new Map<ClusterName, Promise<CqlSession>>();
  const ledger = given.ledger ?? createLedger(createMemoryLedgerStore());
  const session = (cluster: ClusterName): Promise<CqlSession> => {
    const { auth: _, ...rest } = config[cluster];
    const known =
      sessions.get(cluster) ??
      createCqlSession({ ...rest, name: cluster, credentials: { username, password } }).then((opened) =>
        version === undefined ? opened : sayingVersion(opened, version),
      );
    sessions.set(cluster, known);
    return known;
  };
  const ports = {
    ledger,
    openSession: session,
    breaker: CLOSED_BREAKER,
    clock: { nowMillis: Date.now },
    logger: createLogger('replay', 'silent'),
    // What is only waited for takes no longer than it must here.
    sleep: (ms: number) => delay(Math.min(ms, settleMs)),
  };
  const options = replayOptions(config, createFilter(NO_FILTER_RULES));
  const replay: ReplayHere['replay'] = (bodies, change) =>
    replayMessages(
      bodies.map((body, index) => delivered(body, `m${index}`)),
      ports,
      { ...options, ...change },
    );
  return {
    ledger,
    session,
    replay,
    async drain(bodies, change) {
      const ended = { applied: 0, dead: 0 };
      let waiting = [...bodies];
      for (let round = 0; waiting.length > 0 && round < MAX_ROUNDS; round++) {
        const outcomes = await replay(waiting, change);
        const next: string[] = [];
        for (const [index, { remove, resend, bury }] of outcomes.entries()) {
          if (!remove) next.push(waiting[index]!);
          next.push(...resend.map(({ body }) => body));
          if (bury.length > 0) ended.dead++;
          else if (remove && resend.length === 0) ended.applied++;
        }
        waiting = next;
      }
      if (waiting.length > 0) throw new Error(`${waiting.length} messages come again and again`);
      return ended;
    },
    async close() {
      for (const opened of sessions.values()) await (await opened).close();
    },
  };
}

/** A session whose server is told nothing of another now. */
function sayingVersion(session: CqlSession, version: number): CqlSession {
  return {
    protocolVersion: version,
    query: (text, values, options) => session.query(text, values, options),
    prepare: (text) => session.prepare(text),
    execute: (statement, values, options) => session.execute(statement, values, options),
    batch: (kind, entries, options) => session.batch(kind, entries, options),
    close: () => session.close(),
  };
}
