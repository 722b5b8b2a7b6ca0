import { setTimeout as delay } from 'node:timers/promises';
import { originBytesPerSecond } from '#core/jobs/read-budget.ts';
import type { ValidationOptions, ValidationPorts } from '#core/jobs/validation-ports.ts';
import { Consistency } from '#core/model/cql-request.ts';
import type { Job } from './job-handler.ts';

/** What comparing and reconciling need, taken from the environment. */
export async function validationPorts({ environment, logger }: Job): Promise<ValidationPorts> {
  const [origin, target] = await Promise.all([environment.session('origin'), environment.session('target')]);
  return {
    origin,
    target,
    objects: environment.objects,
    ledger: environment.ledger,
    clock: environment.clock,
    logger,
    sleep: (ms, signal) => delay(ms, undefined, { signal }),
  };
}

/** The `validation` section of the configuration, as the jobs want it. */
export function validationOptions({ environment, deadlineMillis }: Job): ValidationOptions {
  const { config, filter } = environment;
  return {
    originConsistency: Consistency[config.origin.consistency.read],
    targetConsistency: Consistency[config.target.consistency.read],
    filter,
    settleMs: config.validation.settleMs,
    originBytesPerSecond: originBytesPerSecond(config.validation),
    deadlineMillis,
  };
}
