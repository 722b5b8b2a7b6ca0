import { describeError } from '#core/errors.ts';
import { markVanished, type VanishedPorts } from '#core/jobs/mark-vanished.ts';

/** All proxies together look about so often: each look reads what every one of them has registered. */
const LOOK_MS = 30_000;
const MAX_LOOK_MS = 3_600_000;

/** Looks now and then for other proxies that are gone with their disks. */
export class VanishedWatch {
  readonly #ports: VanishedPorts;
  #timer: NodeJS.Timeout | undefined;
  #looking: Promise<void> | undefined;
  #isStopped = false;

  constructor(ports: VanishedPorts) {
    this.#ports = ports;
  }

  start(): void {
    this.#looking ??= this.#look();
  }

  async stop(): Promise<void> {
    this.#isStopped = true;
    clearTimeout(this.#timer);
    await this.#looking;
  }

  async #look(): Promise<void> {
    let pauseMs = LOOK_MS;
    try {
      await markVanished(this.#ports);
      pauseMs = Math.min(LOOK_MS * (await this.#countProxies()), MAX_LOOK_MS);
    } catch (error) {
      this.#ports.logger.debug('whether other proxies are gone could not be looked up', {
        error: describeError(error),
      });
    }
    if (this.#isStopped) return;
    // Not all at once after a roll-out.
    const delayMs = pauseMs * (0.5 + Math.random());
    this.#timer = setTimeout(() => {
      this.#looking = this.#look();
    }, delayMs).unref();
  }

  async #countProxies(): Promise<number> {
    let count = 0;
    for await (const _key of this.#ports.ledger.store.list('proxies/')) count++;
    return Math.max(1, count);
  }
}
