/** Gates that ask for instances, clusters and the queue. */
import { type Phase, phases } from '../config/schema.ts';
import type { ClusterName } from '../model/cluster-name.ts';
import type { GateFacts, QueueDepthSeen } from './gate-facts.ts';
import type { Finding } from './gates.ts';
import { hasExpired, isDeclaredDead, primaryOf } from './phase-change.ts';
import { phaseIndex } from './phase-names.ts';
import { openBreakers } from './replay-state.ts';

/** What is unmet, whichever gates the step asks. */
export function checkWorld(from: Phase, to: Phase, facts: GateFacts): readonly Finding[] {
  return [
    ...checkStep(from, to, facts),
    ...checkInstances(facts),
    ...checkClusters(to, facts),
    ...checkQueue(facts),
    ...checkQuiet(to, facts),
  ];
}

function checkStep(from: Phase, to: Phase, { phase, now, hasFilterRules, abandonFiltered }: GateFacts): Finding[] {
  const found: Finding[] = [];
  if (phase.proposal && !hasExpired(phase.proposal, now)) {
    found.push({
      gate: 'change-under-way',
      text: `a change to ${phase.proposal.phase} is under way since ${phase.proposal.since}, by ${phase.proposal.by}`,
      remedy: 'wait for it, or run: ringshift phase withdraw',
    });
  }
  if (Math.abs(phaseIndex(from) - phaseIndex(to)) > 1) {
    found.push({
      gate: 'step-skips-phase',
      text: `${from} → ${to} skips a phase`,
      remedy: `go through ${between(from, to).join(', ')}`,
    });
  }
  if (from === 'target-only') {
    found.push({
      gate: 'no-way-back',
      text: 'from target-only there is no way back: the origin has not received the writes since',
      remedy: 'stay, or migrate back as a migration of its own',
    });
  }
  if (hasFilterRules && !abandonFiltered) {
    found.push({
      gate: 'filter-in-force',
      text: 'filter rules keep data on the origin, which nothing reads or writes in target-only',
      remedy: 'load it and take the rules away, or give it up with --abandon-filtered',
    });
  }
  return found;
}

function between(from: Phase, to: Phase): readonly Phase[] {
  const [a, b] = [phaseIndex(from), phaseIndex(to)];
  return a < b ? phases.slice(a + 1, b) : phases.slice(b + 1, a).toReversed();
}

function checkInstances({ proxies, withoutProxies, phase, now }: GateFacts): Finding[] {
  const found: Finding[] = [];
  if (!withoutProxies && proxies.every((proxy) => isDeclaredDead(proxy, now))) {
    found.push({
      gate: 'no-instances',
      text: 'no proxy is registered',
      remedy: 'start one, or say that there is none with --without-proxies',
    });
  }
  for (const proxy of proxies) {
    const { instance: of, journal, marksWaiting = 0 } = proxy;
    const isDead = isDeclaredDead(proxy, now);
    const add = (gate: Finding['gate'], text: string, remedy: string): void => {
      found.push({ gate, of, text, remedy });
    };
    if (!isDead && Date.parse(proxy.leaseUntil) < now.getTime()) {
      add(
        'instance-stale',
        `proxy ${of} has not been heard of since ${proxy.leaseUntil}, and may still serve`,
        `restart it, or declare it dead with --fence ${of}`,
      );
    } else if (!isDead && proxy.actingEpoch < phase.active.epoch) {
      add(
        'instance-not-acked',
        `proxy ${of} does not act on epoch ${phase.active.epoch} yet: requests of before it are under way`,
        `wait on with: ringshift phase set ${phase.active.phase}`,
      );
    }
    // What it told of itself last can't change any more. Where its disk went with it, its tables are marked.
    if (isDead) {
      if (proxy.storage === 'ephemeral') continue;
      add(
        'journal-not-empty',
        `proxy ${of} was declared dead, and its disk was not looked at since: its journal and its log of writes under way are there`,
        'start it once with its disk',
      );
      continue;
    }
    if (proxy.isBlind) {
      add('instance-blind', `proxy ${of} can't note its writes under way`, 'give its disk room; see its log');
    }
    if (journal && journal.messages > 0) {
      add(
        'journal-not-empty',
        `${journal.messages} failed writes are in the journal of proxy ${of}, the oldest of ${journal.oldestAt ?? 'an unknown time'}`,
        'wait until the queue has them; see failedWrites in its /status',
      );
    }
    if (marksWaiting > 0) {
      add('marks-waiting', `${marksWaiting} suspect marks of proxy ${of} are not in the ledger`, 'wait for them');
    }
  }
  return found;
}

function checkClusters(to: Phase, { clusters, limits }: GateFacts): Finding[] {
  if (!clusters) return [];
  const found: Finding[] = clusters.away.map(({ cluster, error }) => ({
    gate: 'cluster-away' as const,
    of: cluster,
    text: `the ${cluster} could not be asked for its schema and its clocks: ${error}`,
    remedy: 'mend it, or the configuration of whoever asks',
  }));
  for (const { cluster, node, skewMs } of clusters.clocks) {
    if (skewMs !== null && Math.abs(skewMs) <= limits.maxSkewMs) continue;
    found.push({
      gate: 'clock-skew',
      of: `${cluster}/${node}`,
      text:
        skewMs === null
          ? `the clock of node ${node} of the ${cluster} could not be read`
          : `the clock of node ${node} of the ${cluster} differs from the clock here by ${Math.round(skewMs)} ms`,
      remedy: `set the clocks by NTP (proxy.clocks.maxSkewMs is ${limits.maxSkewMs})`,
    });
  }
  const keyspaces = new Map<string, string[]>();
  for (const { keyspace, table, message, lacking } of clusters.differences) {
    // What only the next shadow lacks is for the next step in the other direction.
    if (lacking !== null && lacking !== primaryOf(to) && primaryOf(to) === 'target') continue;
    keyspaces.set(keyspace, [...(keyspaces.get(keyspace) ?? []), `${table} ${message}`]);
  }
  for (const [keyspace, differences] of keyspaces) {
    const more = differences.length > 3 ? ` and ${differences.length - 3} more` : '';
    found.push({
      gate: 'schemas-differ',
      of: keyspace,
      text: `${differences.slice(0, 3).join('; ')}${more}`,
      remedy: `make them equal; see: ringshift schema diff ${keyspace}`,
    });
  }
  return found;
}

function checkQueue({ queue, replay, limits }: GateFacts): Finding[] {
  const found: Finding[] = [];
  const failed = queue.find((look) => 'error' in look);
  if (failed && 'error' in failed) {
    found.push({
      gate: 'queue-unknown',
      text: `the queue of failed writes could not be asked: ${failed.error}`,
      remedy: 'mend it, or the rights of whoever asks (sqs:GetQueueAttributes)',
    });
  }
  const looks = queue.filter((look): look is QueueDepthSeen => !('error' in look));
  const filled = looks.filter(({ waiting, inFlight }) => waiting + inFlight > 0);
  const [first] = filled;
  if (first) {
    const inIt = `${first.waiting} failed writes wait in the queue and ${first.inFlight} are being applied, about`;
    found.push({ gate: 'queue-not-empty', text: inIt, remedy: 'wait for the replay; see: ringshift replay status' });
    const { lag } = replay;
    if (filled.length === looks.length && (lag === null || lag.seconds > limits.maxQueueAgeSecs)) {
      const age =
        lag === null ? 'nobody has taken any out' : `the oldest was ${Math.round(lag.seconds)} s old (${lag.at})`;
      const remedy = `wait for the replay to catch up (gates.maxQueueAgeSecs is ${limits.maxQueueAgeSecs})`;
      found.push({ gate: 'queue-old', text: `${inIt}; ${age}`, remedy });
    }
  }
  const deadLetters = Math.max(0, ...looks.map((look) => look.deadLetters));
  if (deadLetters > 0) {
    found.push({
      gate: 'dead-letters',
      text: `${deadLetters} failed writes were given up`,
      remedy: 'mend what ringshift replay status --dead says, then: ringshift replay redrive',
    });
  }
  for (const cluster of openBreakers(replay)) {
    found.push({
      gate: 'breaker-open',
      of: cluster,
      text: `the replay waits for the ${cluster}: ${replay[cluster]?.lastError ?? 'it does not answer'}`,
      remedy: 'mend the cluster; a probe goes on by itself',
    });
  }
  if (replay.paused) {
    found.push({
      gate: 'breaker-open',
      of: 'paused',
      text: `the replay is paused by ${replay.paused.by} since ${replay.paused.at}: ${replay.paused.why}`,
      remedy: 'ringshift replay resume',
    });
  }
  return found;
}

function checkQuiet(to: Phase, { lastShadowFailureAt, limits, now, since }: GateFacts): Finding[] {
  const cluster: ClusterName = primaryOf(to);
  const at = lastShadowFailureAt[cluster];
  if (at === undefined) return [];
  const quietSince = Math.min(now.getTime() - limits.quietMinutes * 60_000, since.getTime());
  if (Date.parse(at) < quietSince) return [];
  return [
    {
      gate: 'shadow-failed-recently',
      of: cluster,
      text: `a copy to the ${cluster} failed at ${at}`,
      remedy: `wait until none has failed for ${limits.quietMinutes} minutes (gates.quietMinutes)`,
    },
  ];
}
