import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import validate from 'asl-validator';
import { expect, test } from 'vitest';
import * as errors from '#core/errors.ts';
import { readDefinition } from '../../infra/constructs/range-state-machine.ts';
import { projectRoot, synthesize } from './support.ts';

const { templates } = synthesize();
const names = ['bulk-load', 'validation'] as const;

interface State {
  readonly Type: string;
  readonly Comment?: string;
  readonly Retry?: readonly {
    readonly ErrorEquals: readonly string[];
    readonly MaxAttempts?: number;
    readonly MaxDelaySeconds?: number;
  }[];
  readonly Catch?: readonly { readonly ErrorEquals: readonly string[]; readonly Next: string }[];
  readonly Next?: string;
  readonly Default?: string;
  readonly Choices?: readonly { readonly Next: string }[];
  readonly Cause?: string;
  readonly CausePath?: string;
  readonly MaxConcurrencyPath?: string;
  readonly ItemProcessor?: { readonly States: Readonly<Record<string, State>>; readonly ProcessorConfig: unknown };
}

const textOf = (name: string) => readFileSync(join(projectRoot, 'state-machines', `${name}.asl.json`), 'utf8');
const statesOf = (name: string) => (JSON.parse(textOf(name)) as { States: Record<string, State> }).States;

/** All states, those of the children included. */
function* allStates(states: Readonly<Record<string, State>>): Generator<[string, State]> {
  for (const [name, state] of Object.entries(states)) {
    yield [name, state];
    if (state.ItemProcessor !== undefined) yield* allStates(state.ItemProcessor.States);
  }
}

/** Every error name of core/errors.ts with its retryability; undefined where it depends on the single error. */
function ourErrors(): Map<string, boolean | undefined> {
  const found = new Map<string, boolean | undefined>();
  for (const value of Object.values(errors)) {
    if (typeof value !== 'function' || !(value.prototype instanceof errors.MigrationError)) continue;
    const Class = value as unknown as new (...args: unknown[]) => errors.MigrationError;
    const sample = new Class('test', []);
    found.set(sample.name, sample.retryable);
  }
  return found;
}

test.each(names)('%s is valid once its substitutions are in place', (name) => {
  const text = textOf(name)
    .replaceAll('${Partition}', 'aws')
    .replaceAll(/\$\{(\w+)Arn\}/g, 'arn:aws:lambda:eu-west-1:123456789012:function:f')
    .replaceAll(/\$\{\w+\}/g, 'name');
  expect(validate(JSON.parse(text)).errors).toEqual([]);
});

test.each([
  ['bulk-load', 'bulkLoad'],
  ['validation', 'validation'],
] as const)('every substitution of %s is supplied, and none in vain', (name, stack) => {
  const used = new Set([...textOf(name).matchAll(/\$\{(\w+)\}/g)].map((match) => match[1]));
  const machines = templates[stack].findResources('AWS::StepFunctions::StateMachine');
  const supplied = Object.keys(Object.values(machines)[0]?.['Properties'].DefinitionSubstitutions);
  expect(supplied.toSorted()).toEqual([...used].toSorted());
});

test.each(names)('every error that %s names is one of core/errors.ts, of Step Functions or of Lambda', (name) => {
  const ours = ourErrors();
  const named = [...allStates(statesOf(name))].flatMap(([, state]) =>
    [...(state.Retry ?? []), ...(state.Catch ?? [])].flatMap((rule) => rule.ErrorEquals),
  );
  expect(named.length).toBeGreaterThan(20);
  expect(named.filter((error) => !ours.has(error) && !/^(States|Lambda)\.[A-Z]\w+$/.test(error))).toEqual([]);
});

test.each(names)('%s retries every retryable error and no other', (name) => {
  for (const [, state] of allStates(statesOf(name))) {
    if (state.Type !== 'Task') continue;
    for (const [error, isRetryable] of ourErrors()) {
      const rule = state.Retry?.find((candidate) => candidate.ErrorEquals.includes(error));
      // A ServerError may be of either sort, and nothing but its name arrives here.
      if (error === 'ServerError') expect(rule?.MaxAttempts, error).toBeGreaterThan(0);
      else if (isRetryable) expect(rule?.MaxAttempts, error).toBeGreaterThan(0);
      else expect(rule?.MaxAttempts, error).toBe(0);
    }
  }
});

test.each(names)('in %s whatever happens before the summary leads to it', (name) => {
  const states = statesOf(name);
  for (const [, state] of Object.entries(states)) {
    if (state.Type !== 'Task' && state.Type !== 'Map') continue;
    expect(afterFailure(state)).toMatch(/^(Summarize|Report lost summary|Restore indexes|Were indexes dropped)/);
  }
});

/** Where a state goes to when everything else has failed. */
function afterFailure(state: State | undefined): string | undefined {
  return state?.Catch?.find((rule) => rule.ErrorEquals.includes('States.ALL'))?.Next;
}

test('indexes that were dropped are restored whatever happened, and the summary follows whatever became of them', () => {
  const states = statesOf('bulk-load');
  expect(afterFailure(states['Drop indexes'])).toBe('Restore indexes');
  expect(states['Drop indexes']?.Next).toBe('Load every range');
  for (const next of [states['Load every range']?.Next, afterFailure(states['Load every range'])]) {
    expect(next).toBe('Were indexes dropped?');
  }
  expect(states['Were indexes dropped?']?.Choices?.map(({ Next }) => Next)).toEqual(['Restore indexes']);
  expect(afterFailure(states['Restore indexes'])).toBe('Summarize run');
  // The target may just have failed the load; hours must pass before a person is needed.
  const patient = states['Restore indexes']?.Retry?.find(({ ErrorEquals }) => ErrorEquals.includes('ServerError'));
  expect(patient?.MaxAttempts).toBeGreaterThanOrEqual(60);
  expect(patient?.MaxDelaySeconds).toBeGreaterThanOrEqual(300);
  expect(states['Are the indexes built?']?.Default).toBe('Summarize run');
  expect(states['Wait for indexes']?.Next).toBe('Restore indexes');
  // Nothing goes from dropping to the summary past the restore.
  expect(states['Were indexes dropped?']?.Default).toBe('Summarize run');
});

test.each(names)('every failure of %s says what to do', (name) => {
  const fails = [...allStates(statesOf(name))].filter(([, state]) => state.Type === 'Fail');
  expect(fails.length).toBeGreaterThan(0);
  for (const [, state] of fails) {
    expect(state.CausePath === '$.summary.result.cause' || /run: ringshift/.test(state.Cause ?? '')).toBe(true);
  }
});

test.each(names)('every target of a transition in %s exists', (name) => {
  const check = (states: Readonly<Record<string, State>>) => {
    for (const state of Object.values(states)) {
      const targets = [state.Next, state.Default, ...(state.Choices ?? []), ...(state.Catch ?? [])].map((target) =>
        typeof target === 'object' ? target.Next : target,
      );
      for (const target of targets) if (target !== undefined) expect(states).toHaveProperty([target]);
      if (state.ItemProcessor !== undefined) check(state.ItemProcessor.States);
    }
  };
  check(statesOf(name));
});

test.each(names)('the maps of %s run standard children, as a range may take hours', (name) => {
  const maps = Object.values(statesOf(name)).filter((state) => state.Type === 'Map');
  expect(maps.length).toBeGreaterThan(0);
  for (const map of maps) {
    expect(map.ItemProcessor?.ProcessorConfig).toEqual({ Mode: 'DISTRIBUTED', ExecutionType: 'STANDARD' });
    expect(map.MaxConcurrencyPath).toBe('$.plan.maxConcurrency');
  }
});

test('a fixed concurrency replaces that of the plan', () => {
  const definition = JSON.parse(readDefinition('validation', 3)) as { States: Record<string, Record<string, unknown>> };
  const maps = Object.values(definition.States).filter((state) => state['Type'] === 'Map');
  expect(maps.map((map) => [map['MaxConcurrency'], map['MaxConcurrencyPath']])).toEqual([
    [3, undefined],
    [3, undefined],
  ]);
});
