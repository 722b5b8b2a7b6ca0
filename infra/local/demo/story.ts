/** What all chapters share: the parts that run, who tells, and what the summary will show. */
import type { LocalEnvironment } from '../environment.ts';
import type { LiveApplication } from './live-application.ts';
import type { Narrator } from './narrator.ts';
import type { ProductOptions, ProxyProcess } from './product.ts';

export interface Story {
  readonly environment: LocalEnvironment;
  readonly java: string;
  readonly narrator: Narrator;
  /** Aborted by Ctrl-C, by an error that the application sees, and by the proxy's death. */
  readonly signal: AbortSignal;
  /** Ends the story with this error, from outside the chapter that runs. */
  readonly fail: (error: Error) => void;
  /** Lines of the summary table, in order. */
  readonly facts: (readonly [name: string, value: string])[];
  readonly parts: {
    product?: ProductOptions;
    proxy?: ProxyProcess;
    application?: LiveApplication;
    /** The s3:// place of the snapshot. */
    snapshot?: string;
  };
}

/** A part that an earlier chapter started. */
export function part<K extends keyof Story['parts']>(story: Story, name: K): NonNullable<Story['parts'][K]> {
  const value = story.parts[name];
  if (value === undefined) throw new Error(`the story has no ${name} yet`);
  return value as NonNullable<Story['parts'][K]>;
}

export const thousands = (value: number): string => value.toLocaleString('en-US');

/** Waits, but ends at once when the story does. */
export function pause(story: Story, milliseconds: number): Promise<void> {
  return new Promise((resolve, reject) => {
    story.signal.throwIfAborted();
    const onAbort = (): void => {
      clearTimeout(timer);
      reject(story.signal.reason);
    };
    const timer = setTimeout(() => {
      story.signal.removeEventListener('abort', onAbort);
      resolve();
    }, milliseconds);
    story.signal.addEventListener('abort', onAbort, { once: true });
  });
}
