/** What a run of the test beds was asked for, by `npm run test:faults` or by nobody. */

/** Chosen once and for all: what a change breaks in it was not broken before. */
const FIXED_SEED = 20_261_121;
const MAX_DRAWN = 1_000_000;

export interface FaultRunSettings {
  /**
   * Those that were asked for, or a fixed one and one that is drawn, so that every run looks somewhere else too. Where
   * `fixed` is asked for, that one alone: a build has no time for both.
   */
  readonly seeds: readonly number[];
  /** 0: the bounded set. */
  readonly minutes: number;
  /** Injectors by name; null: all. */
  readonly only: readonly string[] | null;
  readonly interleavings: { readonly kind: 'share' | 'all' } | { readonly kind: 'random'; readonly cases: number };
  /** One case of the interleavings alone. */
  readonly caseName: string | null;
}

export const settingNames = {
  seed: 'RINGSHIFT_SEED',
  minutes: 'RINGSHIFT_FAULT_MINUTES',
  only: 'RINGSHIFT_FAULT_ONLY',
  interleavings: 'RINGSHIFT_INTERLEAVINGS',
  caseName: 'RINGSHIFT_CASE',
} as const;

/** @throws Error naming the variable that can't be meant so */
export function faultRunSettings(env: NodeJS.ProcessEnv): FaultRunSettings {
  const minutes = Number(env[settingNames.minutes] ?? 0);
  if (!(minutes >= 0)) throw new Error(`${settingNames.minutes} takes a number of minutes`);
  return {
    seeds: parseSeeds(env[settingNames.seed]),
    minutes,
    only: env[settingNames.only]?.split(',') ?? null,
    interleavings: parseInterleavings(env[settingNames.interleavings] ?? 'share'),
    caseName: env[settingNames.caseName] ?? null,
  };
}

function parseSeeds(text: string | undefined): readonly number[] {
  if (text === undefined) return [FIXED_SEED, Math.floor(Math.random() * MAX_DRAWN)];
  if (text === 'fixed') return [FIXED_SEED];
  const seeds = text.split(',').map(Number);
  if (seeds.every((seed) => Number.isInteger(seed) && seed >= 0)) return seeds;
  throw new Error(`${settingNames.seed} takes whole numbers, or fixed`);
}

function parseInterleavings(text: string): FaultRunSettings['interleavings'] {
  if (text === 'share' || text === 'all') return { kind: text };
  const cases = Number(/^random:(\d+)$/.exec(text)?.[1]);
  if (cases > 0) return { kind: 'random', cases };
  throw new Error(`${settingNames.interleavings} takes share, all or random:COUNT`);
}
