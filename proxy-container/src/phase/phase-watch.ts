import { setTimeout as sleep } from 'node:timers/promises';
import type { Phase } from '#core/config/schema.ts';
import { describeError, FencedError } from '#core/errors.ts';
import type { Ledger } from '#core/ledger/ledger.ts';
import { changesPrimary, hasExpired, shadowOf, withdrawProposal } from '#core/ledger/phase-change.ts';
import type { PhaseRecord, ProxyRecord } from '#core/ledger/records.ts';
import { noteShadowFailures } from '#core/ledger/shadow-failures.ts';
import type { Logger } from '#core/ports.ts';
import { PhaseGate } from './phase-gate.ts';

/** While a change is proposed; while requests are held for it. */
const PROPOSED_POLL_MS = 250;
const HOLDING_POLL_MS = 50;
/** A lease lasts for so many heartbeats. */
const HEARTBEATS_OF_LEASE = 3;
const DRAIN_MS = 10_000;

export interface PhaseWatchOptions {
  readonly ledger: Ledger;
  readonly instance: string;
  readonly logger: Logger;
  /** How often it looks, and how often it renews its lease. */
  readonly lease: { readonly pollMs: number; readonly heartbeatSecs: number };
  readonly counters: () => Record<string, number>;
  /** What else each heartbeat tells of this proxy. */
  readonly facts: () => Partial<ProxyRecord>;
  /** Called when the ledger has a heartbeat, with what `facts` gave for it. */
  readonly onTold?: (facts: Partial<ProxyRecord>) => void;
  /** Called when another phase comes into force, before held requests go on. */
  readonly onAct: (record: PhaseRecord) => void;
  /**
   * Called before a change of primary is acknowledged, with nothing under way: what the next primary must know or have
   * behind it is made sure of here. False: it can't be, and the change is given up.
   */
  readonly beforeHandOver: (next: Phase) => Promise<boolean>;
  /** Called once when somebody has declared this process dead; it looks at nothing any more. */
  readonly onFenced: (error: FencedError) => void;
}

/**
 * Follows the phase in the ledger: registers this proxy with a lease, drains and acknowledges when a change is
 * proposed, acts when it is activated, resumes when it is withdrawn. A ledger that is away leaves the phase as it is.
 */
export class PhaseWatch {
  readonly #options: PhaseWatchOptions;
  readonly #startedAt = new Date().toISOString();
  readonly #stop = new AbortController();
  /** Ends the present wait between two looks. */
  #pause = new AbortController();
  #hurries = 0;
  /** Of those, the ones that the last heartbeat has told of. */
  #toldHurries = 0;
  #gate: PhaseGate | undefined;
  #drainedForEpoch = 0;
  /** The last epoch that was in force with no request of a phase without copies left; 0 until there is one. */
  #actingEpoch = 0;
  #heldSinceMs: number | undefined;
  #lastHeartbeatMs = Number.NEGATIVE_INFINITY;
  #lastReadMs = performance.now();
  #lastError: string | undefined;
  /** What the ledger was told of failed copies. */
  #toldFailures = '';
  #running: Promise<void> | undefined;
  record: PhaseRecord | undefined;

  constructor(options: PhaseWatchOptions) {
    this.#options = options;
  }

  /** How long the ledger has been away; 0 when the last call went through. Milliseconds. */
  get ledgerAwayMs(): number {
    return this.#lastError === undefined ? 0 : performance.now() - this.#lastReadMs;
  }

  get lastError(): string | undefined {
    return this.#lastError;
  }

  /**
   * Registers, then reads the phase in force; while a change is proposed it waits for its end, with nothing to drain.
   * @throws LedgerUnavailableError: without a phase there is no gate, and nothing may be served
   */
  async begin(first: PhaseRecord): Promise<PhaseGate> {
    await this.#register();
    let record = (await this.#options.ledger.readPhase()) ?? first;
    let toldOf = 0;
    while (record.proposal) {
      const { epoch, phase } = record.proposal;
      if (epoch !== toldOf) {
        this.#options.logger.info('a change of phase is under way; the proxy waits for its end before it listens', {
          proposed: phase,
          epoch,
          by: record.proposal.by,
        });
      }
      toldOf = epoch;
      // What an earlier process could not tell any more counts for this change as well.
      const isSettled = !changesPrimary(record.active.phase, phase) || (await this.#options.beforeHandOver(phase));
      if (isSettled) this.#drainedForEpoch = epoch;
      await this.#register();
      await sleep(this.#pollMs);
      record = (await this.#withoutExpired((await this.#options.ledger.readPhase()) ?? record)) ?? record;
    }
    this.record = record;
    this.#gate = new PhaseGate(record.active.phase, record.active.epoch);
    this.#drainedForEpoch = record.active.epoch;
    this.#actingEpoch = record.active.epoch;
    await this.#register();
    return this.#gate;
  }

  start(): void {
    this.#running ??= this.#run();
  }

  /** Renews the lease now: it has something to tell that must not wait. */
  hurry(): void {
    this.#hurries++;
    this.#pause.abort();
  }

  /**
   * Ends the watch and takes this proxy out of the ledger.
   * @param owes it leaves something behind that others must find: then its lease runs out instead
   */
  async stop(owes = false): Promise<void> {
    this.#stop.abort();
    this.#pause.abort();
    await this.#running;
    if (!owes) await this.#options.ledger.removeProxy(this.#options.instance).catch(() => undefined);
  }

  /**
   * Ends the watch. The record stays, with what it tells of itself and a lease that is over: what is left on the disk is
   * for the next process there, which need not wait, and until then the gates see it.
   */
  async leaveBehind(): Promise<void> {
    await this.stop(true);
    if (this.#gate) await this.#register(0).catch(() => undefined);
  }

  async #run(): Promise<void> {
    const { signal } = this.#stop;
    while (!signal.aborted) {
      await sleep(this.#pollMs, undefined, { signal: this.#pause.signal }).catch(() => undefined);
      if (signal.aborted) return;
      this.#pause = new AbortController();
      try {
        await this.#step();
        this.#lastReadMs = performance.now();
        if (this.#lastError !== undefined) this.#options.logger.info('the ledger is back', {});
        this.#lastError = undefined;
      } catch (error) {
        if (error instanceof FencedError) {
          this.#options.logger.error('this process must not serve any more', { error: describeError(error) });
          return this.#options.onFenced(error);
        }
        if (this.#lastError === undefined) {
          this.#options.logger.warn('the ledger is away; the phase stays as it is', { error: describeError(error) });
        }
        this.#lastError = describeError(error);
        // What it could not tell does not wait for the next heartbeat.
        this.#hurries++;
      }
    }
  }

  /** How long until it looks again. Milliseconds. */
  get #pollMs(): number {
    if (this.#gate?.isHolding) return HOLDING_POLL_MS;
    const { pollMs } = this.#options.lease;
    // One that begins waits for the end of a change.
    return this.#gate === undefined || this.record?.proposal ? Math.min(PROPOSED_POLL_MS, pollMs) : pollMs;
  }

  async #step(): Promise<void> {
    const gate = this.#gate!;
    const record = await this.#withoutExpired(await this.#options.ledger.readPhase());
    if (!record) return;
    this.record = record;
    if (record.active.epoch > gate.epoch) return this.#act(record);
    const { proposal } = record;
    if (!proposal) {
      // Also where nothing is held: an acknowledgement of a change that was withdrawn must not stand.
      if (gate.isHolding || this.#drainedForEpoch > gate.epoch) await this.#resume();
      else if (this.#actingEpoch < gate.epoch) await this.#settle();
    } else if (proposal.epoch > this.#drainedForEpoch) await this.#drain(record, proposal.epoch);
    else if (gate.isHolding && performance.now() - (this.#heldSinceMs ?? 0) > DRAIN_MS)
      await this.#giveUp(proposal.epoch);
    const isDue = performance.now() - this.#lastHeartbeatMs >= this.#options.lease.heartbeatSecs * 1000;
    if (isDue || this.#toldHurries !== this.#hurries) await this.#register();
  }

  /** A proposal whose caller died is taken back by whoever sees it first. */
  async #withoutExpired(record: PhaseRecord | undefined): Promise<PhaseRecord | undefined> {
    const proposal = record?.proposal;
    if (!proposal || !hasExpired(proposal, new Date())) return record;
    this.#options.logger.warn('a proposal has expired and is withdrawn: whoever made it is gone', {
      proposed: proposal.phase,
      epoch: proposal.epoch,
      by: proposal.by,
    });
    return this.#options.ledger.changePhase((found) =>
      found.proposal?.epoch === proposal.epoch ? withdrawProposal(found) : found,
    );
  }

  async #act(record: PhaseRecord): Promise<void> {
    const { phase, epoch } = record.active;
    const gate = this.#gate!;
    const startsCopies = shadowOf(gate.phase) === undefined && shadowOf(phase) !== undefined;
    const mustSettle = startsCopies || this.#actingEpoch < gate.epoch;
    this.#drainedForEpoch = epoch;
    this.#heldSinceMs = undefined;
    this.#options.onAct(record);
    gate.act(phase, epoch);
    const isSettled = !mustSettle || gate.earlierInFlight === 0;
    if (isSettled) this.#actingEpoch = epoch;
    this.#options.logger.info('a phase is in force', { phase, epoch, isSettled });
    await this.#register();
  }

  /**
   * Requests of a phase without copies are still under way: says that this proxy acts on the new one only when they have
   * ended, since a snapshot that is taken from then on must hold all that they write. New ones go on meanwhile.
   */
  async #settle(): Promise<void> {
    const gate = this.#gate!;
    if (gate.earlierInFlight > 0) return;
    this.#actingEpoch = gate.epoch;
    this.#options.logger.info('all requests of earlier phases have ended', { epoch: gate.epoch });
    await this.#register();
  }

  /** Leaves the gate holding. A request that ends may leave its copy under way, so once is not enough. */
  async #holdUntilDrained(): Promise<boolean> {
    const gate = this.#gate!;
    const deadline = performance.now() + DRAIN_MS;
    for (;;) {
      if (!(await gate.holdAndDrain(Math.max(1, deadline - performance.now())))) return false;
      if (gate.inFlight === 0) return true;
      if (performance.now() >= deadline) return false;
    }
  }

  async #drain(record: PhaseRecord, epoch: number): Promise<void> {
    const gate = this.#gate!;
    const { proposal } = record;
    if (proposal && changesPrimary(gate.phase, proposal.phase)) {
      this.#heldSinceMs = performance.now();
      if (!(await this.#holdUntilDrained())) {
        this.#options.logger.warn('requests under way did not end; the change of phase is given up', { epoch });
        return this.#giveUp(epoch);
      }
      if (!(await this.#options.beforeHandOver(proposal.phase))) {
        this.#options.logger.warn('suspect tables could not be told; the change of phase is given up', { epoch });
        return this.#giveUp(epoch);
      }
    } else if (gate.isHolding) {
      // For a change of primary that was withdrawn between two looks; it can't come into force any more.
      this.#heldSinceMs = undefined;
      gate.release();
    }
    this.#drainedForEpoch = epoch;
    await this.#register();
  }

  /**
   * Held too long: takes the proposal back before anything goes on. The ledger decides the race with an activation,
   * so that this proxy never goes on in a phase that is no longer in force.
   */
  async #giveUp(epoch: number): Promise<void> {
    const record = await this.#options.ledger.changePhase((found) =>
      found.proposal?.epoch === epoch ? withdrawProposal(found) : found,
    );
    if (record.active.epoch > this.#gate!.epoch) return this.#act(record);
    this.#options.logger.warn('the proposal was withdrawn: it held requests for too long', { epoch });
    await this.#resume();
  }

  async #resume(): Promise<void> {
    this.#heldSinceMs = undefined;
    this.#drainedForEpoch = this.#gate!.epoch;
    await this.#register();
    this.#gate!.release();
  }

  async #register(leaseMs = HEARTBEATS_OF_LEASE * this.#options.lease.heartbeatSecs * 1000): Promise<void> {
    const hurries = this.#hurries;
    const now = Date.now();
    const { ledger, instance } = this.#options;
    const facts = this.#options.facts();
    await ledger.putProxy({
      ...facts,
      version: 1,
      instance,
      startedAt: this.#startedAt,
      leaseUntil: new Date(now + leaseMs).toISOString(),
      drainedForEpoch: this.#drainedForEpoch,
      actingEpoch: this.#actingEpoch,
      counters: this.#options.counters(),
    });
    this.#toldHurries = hurries;
    this.#lastHeartbeatMs = performance.now();
    this.#options.onTold?.(facts);
    const failures = facts.lastShadowFailureAt ?? {};
    const told = JSON.stringify(failures);
    if (told === this.#toldFailures || told === '{}') return;
    await noteShadowFailures(failures, ledger.store);
    this.#toldFailures = told;
  }
}
