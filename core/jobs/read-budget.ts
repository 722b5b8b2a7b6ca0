/** How much a validation may read of the origin, which serves the application meanwhile. */

import type { ResultPage } from '../model/cql-request.ts';
import { ByteBudget } from './byte-budget.ts';
import type { ValidationPorts } from './validation-ports.ts';

/** The budget of one range: `validation.originReadMBps` is shared by all that run at once. */
export function originBytesPerSecond(validation: {
  readonly originReadMBps: number;
  readonly maxConcurrency: number;
}): number {
  return (validation.originReadMBps * 1_000_000) / validation.maxConcurrency;
}

/** Every page that is read of the origin is paid for, also those of partitions that are read again. */
export function withinBudget(
  ports: ValidationPorts,
  bytesPerSecond: number | undefined,
  signal: AbortSignal | undefined,
): ValidationPorts {
  if (bytesPerSecond === undefined) return ports;
  const { origin } = ports;
  const budget = new ByteBudget(bytesPerSecond, ports.clock, ports.sleep);
  return {
    ...ports,
    origin: {
      protocolVersion: origin.protocolVersion,
      query: (text, values, options) => origin.query(text, values, options),
      prepare: (text) => origin.prepare(text),
      async execute(statement, values, options) {
        const page = await origin.execute(statement, values, options);
        await budget.pay(bytesOf(page), signal);
        return page;
      },
      batch: (kind, entries, options) => origin.batch(kind, entries, options),
      close: () => origin.close(),
    },
  };
}

function bytesOf({ rows }: ResultPage): number {
  let bytes = 0;
  // A value's length takes four bytes on the wire.
  for (const row of rows) for (const value of row) bytes += 4 + (value?.length ?? 0);
  return bytes;
}
