/** Loaded before a proxy: its clock is off by what a file says, in milliseconds, looked at now and then. */
import { readFileSync } from 'node:fs';

const file = process.env['RINGSHIFT_CLOCK_OFFSET_FILE'];
const LOOK_MS = 50;

if (file !== undefined) {
  const offsetOf = (): number => {
    try {
      return Number(readFileSync(file, 'utf8')) || 0;
    } catch {
      return 0;
    }
  };
  let offsetMs = offsetOf();
  setInterval(() => {
    offsetMs = offsetOf();
  }, LOOK_MS).unref();
  const RealDate = Date;
  globalThis.Date = class extends RealDate {
    constructor(...args: unknown[]) {
      if (args.length === 0) super(RealDate.now() + offsetMs);
      else super(...(args as [number]));
    }

    static override now(): number {
      return RealDate.now() + offsetMs;
    }
  } as DateConstructor;
}
