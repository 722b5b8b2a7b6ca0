import { setTimeout as sleep } from 'node:timers/promises';
import { describeError } from '#core/errors.ts';
import type { Ledger } from '#core/ledger/ledger.ts';
import { changesPrimary, withdrawProposal } from '#core/ledger/phase-change.ts';
import type { PhaseRecord } from '#core/ledger/records.ts';
import type { Logger } from '#core/ports.ts';
import { PhaseGate } from './phase-gate.ts';

const POLL_MS = 250;
const HOLDING_POLL_MS = 50;
const HEARTBEAT_MS = 4_000;
const LEASE_MS = 15_000;
const DRAIN_MS = 10_000;

export interface PhaseWatchOptions {
  readonly ledger: Ledger;
  readonly instance: string;
  readonly logger: Logger;
  readonly counters: () => Record<string, number>;
  /** Called when another phase comes into force, before held requests go on. */
  readonly onAct: (record: PhaseRecord) => void;
}

/**
 * Follows the phase in the ledger: registers this proxy with a lease, drains and acknowledges when a change is
 * proposed, acts when it is activated, resumes when it is withdrawn. A ledger that is away leaves the phase as it is.
 */
export class PhaseWatch {
  readonly #options: PhaseWatchOptions;
  readonly #startedAt = new Date().toISOString();
  readonly #stop = new AbortController();
  #gate: PhaseGate | undefined;
  #drainedForEpoch = 0;
  #heldSinceMs: number | undefined;
  #lastHeartbeatMs = Number.NEGATIVE_INFINITY;
  #lastReadMs = performance.now();
  #lastError: string | undefined;
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

  get leaseMs(): number {
    return LEASE_MS;
  }

  /**
   * Registers, then reads the phase in force; while a change is proposed it waits for its end, drained by nature.
   * @throws LedgerUnavailableError: without a phase there is no gate, and nothing may be served
   */
  async begin(first: PhaseRecord): Promise<PhaseGate> {
    await this.#register(0);
    let record = (await this.#options.ledger.readPhase()) ?? first;
    while (record.proposal) {
      this.#drainedForEpoch = record.proposal.epoch;
      await this.#register(0);
      await sleep(POLL_MS);
      record = (await this.#options.ledger.readPhase()) ?? record;
    }
    this.record = record;
    this.#gate = new PhaseGate(record.active.phase, record.active.epoch);
    this.#drainedForEpoch = record.active.epoch;
    await this.#register(record.active.epoch);
    return this.#gate;
  }

  start(): void {
    this.#running ??= this.#run();
  }

  /** Ends the watch and takes this proxy out of the ledger. */
  async stop(): Promise<void> {
    this.#stop.abort();
    await this.#running;
    await this.#options.ledger.removeProxy(this.#options.instance).catch(() => undefined);
  }

  async #run(): Promise<void> {
    const { signal } = this.#stop;
    while (!signal.aborted) {
      const pollMs = this.#gate?.isHolding ? HOLDING_POLL_MS : POLL_MS;
      await sleep(pollMs, undefined, { signal }).catch(() => undefined);
      if (signal.aborted) return;
      try {
        await this.#step();
        this.#lastReadMs = performance.now();
        if (this.#lastError !== undefined) this.#options.logger.info('the ledger is back', {});
        this.#lastError = undefined;
      } catch (error) {
        if (this.#lastError === undefined) {
          this.#options.logger.warn('the ledger is away; the phase stays as it is', { error: describeError(error) });
        }
        this.#lastError = describeError(error);
      }
    }
  }

  async #step(): Promise<void> {
    const gate = this.#gate!;
    const record = await this.#options.ledger.readPhase();
    if (!record) return;
    this.record = record;
    if (record.active.epoch > gate.epoch) return this.#act(record);
    const { proposal } = record;
    if (!proposal) {
      if (gate.isHolding) await this.#resume();
    } else if (proposal.epoch > this.#drainedForEpoch) await this.#drain(record, proposal.epoch);
    else if (gate.isHolding && performance.now() - (this.#heldSinceMs ?? 0) > DRAIN_MS)
      await this.#giveUp(proposal.epoch);
    if (performance.now() - this.#lastHeartbeatMs > HEARTBEAT_MS) await this.#register(gate.epoch);
  }

  async #act(record: PhaseRecord): Promise<void> {
    const { phase, epoch } = record.active;
    this.#drainedForEpoch = epoch;
    this.#heldSinceMs = undefined;
    this.#options.onAct(record);
    this.#gate!.act(phase, epoch);
    this.#options.logger.info('a phase is in force', { phase, epoch });
    await this.#register(epoch);
  }

  async #drain(record: PhaseRecord, epoch: number): Promise<void> {
    const gate = this.#gate!;
    const { proposal } = record;
    if (proposal && changesPrimary(gate.phase, proposal.phase)) {
      this.#heldSinceMs = performance.now();
      if (!(await gate.holdAndDrain(DRAIN_MS))) {
        this.#options.logger.warn('requests under way did not end; the change of phase is given up', { epoch });
        return this.#giveUp(epoch);
      }
    }
    this.#drainedForEpoch = epoch;
    await this.#register(gate.epoch);
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
    await this.#register(this.#gate!.epoch);
    this.#gate!.release();
  }

  async #register(actingEpoch: number): Promise<void> {
    const now = Date.now();
    await this.#options.ledger.putProxy({
      version: 1,
      instance: this.#options.instance,
      startedAt: this.#startedAt,
      leaseUntil: new Date(now + LEASE_MS).toISOString(),
      drainedForEpoch: this.#drainedForEpoch,
      actingEpoch,
      counters: this.#options.counters(),
    });
    this.#lastHeartbeatMs = performance.now();
  }
}
