import type { ProxyStatus } from '../admin/status.ts';

type Cluster = ProxyStatus['clusters'][number];
type NonEmpty<T> = readonly [T, ...T[]];

/**
 * The processes of a host as if they were one: what can be added is added, of phases and epochs the one that is furthest
 * behind is shown, of troubles the worst.
 * @param statuses at least one
 */
export function mergeStatus(instance: string, statuses: readonly ProxyStatus[]): ProxyStatus {
  const all = statuses as NonEmpty<ProxyStatus>;
  const behind = all.reduce((least, one) => (one.epoch < least.epoch ? one : least));
  const sum = (pick: (one: ProxyStatus) => number): number => all.reduce((total, one) => total + pick(one), 0);
  const failedWrites = (key: 'journalMessages' | 'journalBytes' | 'unreadable' | 'setAside' | 'queued'): number =>
    sum((one) => one.failedWrites[key]);
  const any = (key: 'journalError' | 'queueError'): string | null =>
    all.map((one) => one.failedWrites[key]).find((error) => error !== null) ?? null;
  /** Times in ISO form are ordered as texts are. */
  const first = (key: 'journalOldestAt' | 'lastQueuedAt', at = 0): string | null =>
    all
      .flatMap((one) => one.failedWrites[key] ?? [])
      .sort()
      .at(at) ?? null;
  const furthestAway = all.reduce((most, one) => (one.ledger.awayMs > most.ledger.awayMs ? one : most));
  return {
    ...behind,
    instance,
    pid: process.pid,
    startedAt: all.map(({ startedAt }) => startedAt).sort()[0]!,
    isHolding: all.some(({ isHolding }) => isHolding),
    held: sum(({ held }) => held),
    heldBytes: sum(({ heldBytes }) => heldBytes),
    isListening: all.some(({ isListening }) => isListening),
    inFlight: sum(({ inFlight }) => inFlight),
    clients: sum(({ clients }) => clients),
    preparedStatements: sum(({ preparedStatements }) => preparedStatements),
    preparedBytes: sum(({ preparedBytes }) => preparedBytes),
    preparedEvictions: sum(({ preparedEvictions }) => preparedEvictions),
    protocolVersion: Math.min(...all.map(({ protocolVersion }) => protocolVersion)),
    clusters: behind.clusters.map((cluster) => mergeCluster(cluster, all)),
    failedWrites: {
      journalMessages: failedWrites('journalMessages'),
      journalBytes: failedWrites('journalBytes'),
      journalOldestAt: first('journalOldestAt'),
      journalError: any('journalError'),
      unreadable: failedWrites('unreadable'),
      setAside: failedWrites('setAside'),
      queued: failedWrites('queued'),
      queueError: any('queueError'),
      lastQueuedAt: first('lastQueuedAt', -1),
      suspectMarks: sum((one) => one.failedWrites.suspectMarks),
      suspectMarksWaiting: sum((one) => one.failedWrites.suspectMarksWaiting),
    },
    inFlightLog: {
      open: sum((one) => one.inFlightLog.open),
      bytes: sum((one) => one.inFlightLog.bytes),
      isBlind: all.some((one) => one.inFlightLog.isBlind),
      flushError: all.map((one) => one.inFlightLog.flushError).find((error) => error !== null) ?? null,
    },
    queue: all.map(({ queue }) => queue).find((queue) => queue !== null) ?? null,
    ledger: furthestAway.ledger,
    filterRules: { error: all.map(({ filterRules }) => filterRules.error).find((error) => error !== null) ?? null },
    reads: all.map(({ reads }) => reads).reduce((sums, one) => addNumbers(sums, one)),
    counters: addCounters(all.map(({ counters }) => counters)),
  };
}

/** Up where it is for all of them; the clients of a process that can't reach it are the host's as well. */
function mergeCluster(cluster: Cluster, all: readonly ProxyStatus[]): Cluster {
  const same = all.flatMap(({ clusters }) => clusters.filter(({ name }) => name === cluster.name));
  const notUp = same.find(({ state }) => state !== 'up');
  return {
    ...cluster,
    state: notUp?.state ?? cluster.state,
    error: notUp?.error ?? null,
    connections: same.reduce((total, { connections }) => total + connections, 0),
    inFlight: same.reduce((total, { inFlight }) => total + inFlight, 0),
    hosts: [...new Set(same.flatMap(({ hosts }) => hosts))],
  };
}

/** Adds what is a number, at any depth, and joins lists. */
function addNumbers<T extends object>(a: T, b: T): T {
  const sums = { ...a } as Record<string, unknown>;
  for (const [key, value] of Object.entries(b)) {
    const before = sums[key];
    if (typeof value === 'number') sums[key] = (typeof before === 'number' ? before : 0) + value;
    else if (Array.isArray(value)) sums[key] = [...(Array.isArray(before) ? before : []), ...value];
    else if (typeof value === 'object' && value !== null) sums[key] = addNumbers((before ?? {}) as object, value);
  }
  return sums as T;
}

function addCounters(all: readonly ProxyStatus['counters'][]): Record<string, number> {
  const sums: Record<string, number> = {};
  for (const counters of all) {
    for (const [name, value] of Object.entries(counters)) {
      // A moment, and no count.
      if (name === 'startedAtMs') sums[name] = Math.min(sums[name] ?? value, value);
      else sums[name] = (sums[name] ?? 0) + value;
    }
  }
  return sums;
}
