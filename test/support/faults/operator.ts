/** Changes the phase as people do: asks, reads the refusal, does what its remedy says, and asks again. */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { parse, stringify } from 'yaml';
import type { Phase } from '#core/config/schema.ts';
import { GateClosedError } from '#core/errors.ts';
import { changePhase } from '#core/jobs/change-phase.ts';
import { openChange } from '../../../cli/phase-change.ts';
import { testEnvironment } from '../../../infra/local/environment.ts';
import { reconcileCounters, reconcileMarks, validateAll } from './bring-together.ts';
import type { FaultWorld } from './fault-world.ts';
import type { Oracle } from './oracle.ts';

const PAUSE_MS = 500;
const DRAIN_TIMEOUT_MS = 10_000;
/** What was sent before nobody counted any more has arrived by then, or is lost. */
const COUNTED_MS = 3_000;
/** So long the gates may stay closed when there are no faults any more. */
const PATIENCE_MS = 240_000;

/** Gates that open when marked places are compared, when whole tables are, and when counters are brought together. */
const BY_MARKS: ReadonlySet<string> = new Set(['suspect', 'hole', 'conditional-missing', 'table-not-validated']);
const BY_VALIDATION: ReadonlySet<string> = new Set(['conditional-missing', 'table-not-loaded', 'table-not-validated']);
const BY_COUNTERS = 'counters-drift';

export interface OperatorOptions {
  readonly world: FaultWorld;
  readonly oracle: Oracle;
  readonly keyspaces: readonly string[];
  /** Whether no fault is under way: a stop window while requests hang is none. */
  readonly isCalm: () => boolean;
}

export class Operator {
  /** Phases that came into force, in order. */
  readonly changed: Phase[] = [];
  /** How often which gate was closed. */
  readonly refused = new Map<string, number>();
  readonly #options: OperatorOptions;
  readonly #configFile: string;

  constructor(options: OperatorOptions) {
    const { world, keyspaces } = options;
    this.#options = options;
    this.#configFile = join(testEnvironment.folder, 'faults', 'operator.yaml');
    const config = parse(readFileSync(world.stacks.configFile, 'utf8')) as object;
    writeFileSync(this.#configFile, stringify({ ...config, gates: { keyspaces, quietMinutes: 0 } }));
  }

  /** Phase by phase. @throws Error when a gate stays closed although nothing is wrong any more */
  async lead(phases: readonly Phase[]): Promise<void> {
    for (const phase of phases) await this.#bringTo(phase);
  }

  async #bringTo(phase: Phase): Promise<void> {
    let calmSinceMs: number | undefined;
    for (;;) {
      const unmet = await this.#ask(phase);
      if (unmet === undefined) return void this.changed.push(phase);
      if (this.#options.isCalm()) calmSinceMs ??= Date.now();
      if (calmSinceMs !== undefined && Date.now() - calmSinceMs > PATIENCE_MS) {
        throw new Error(`${phase} is still refused: ${unmet.join('; ')}`);
      }
      await this.#mend(unmet.map((reason) => reason.split(':')[0]!));
      await sleep(PAUSE_MS);
    }
  }

  /** Undefined: it is in force. Else what keeps it from being so. */
  async #ask(phase: Phase): Promise<readonly string[] | undefined> {
    const { ports } = await openChange(this.#configFile);
    const { ledger } = ports;
    // Of runs before, whose tables a host that vanished has written as well.
    for (const { keyspace, table, id } of await ledger.listSuspects()) {
      if (!this.#options.keyspaces.includes(keyspace)) await ledger.removeSuspect(keyspace, table, id);
    }
    const word = { by: 'test', why: '', force: [], fence: [], withoutProxies: false, drainTimeoutMs: DRAIN_TIMEOUT_MS };
    try {
      await changePhase({ phase, ...word }, { ...ports, onWait: () => undefined });
      return undefined;
    } catch (error) {
      if (!(error instanceof GateClosedError)) throw error;
      const unmet = error.unmet.length > 0 ? error.unmet.map(({ code }) => code) : ['in-flight'];
      for (const gate of new Set(unmet.map((code) => code.split(':')[0]!))) {
        this.refused.set(gate, (this.refused.get(gate) ?? 0) + 1);
      }
      return unmet.map((code, at) => `${code}: ${error.reasons[at] ?? ''}`);
    }
  }

  async #mend(gates: readonly string[]): Promise<void> {
    const { world, oracle, keyspaces, isCalm } = this.#options;
    await world.tendReplay();
    if (gates.some((gate) => BY_MARKS.has(gate))) await reconcileMarks(world.stacks.configFile, keyspaces);
    if (gates.some((gate) => BY_VALIDATION.has(gate))) await validateAll(world.stacks.configFile, keyspaces);
    if (!gates.includes(BY_COUNTERS) || !isCalm()) return;
    await oracle.withoutCounting(async () => {
      await sleep(COUNTED_MS);
      await reconcileCounters(world.stacks.configFile, keyspaces);
    });
  }
}
