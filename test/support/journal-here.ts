import type { FailedWriteQueue } from '#core/ports.ts';
import { JournalCore } from '../../proxy-container/src/journal/journal-core.ts';
import type { FromJournal, StartJournalThread } from '../../proxy-container/src/journal/journal-protocol.ts';

/** The journal on the thread of the test, with a queue of the test; its messages come later, as from another thread. */
export function journalHere(
  queue: FailedWriteQueue | null,
  more: { readonly maxRefusals?: number; readonly nowMillis?: () => number } = {},
): StartJournalThread {
  return (settings, { onMessage, onGone }) => {
    let isGone = false;
    let isEnded = false;
    const gone = (why: string): void => {
      if (isGone) return;
      isGone = true;
      onGone(why);
    };
    const post = (message: FromJournal): void => {
      setImmediate(() => {
        if (!isGone) onMessage(message);
      });
    };
    let core: JournalCore | undefined;
    setImmediate(() => {
      if (isEnded) return;
      try {
        const { nowMillis = Date.now, ...rest } = more;
        core = new JournalCore({ settings, queue, clock: { nowMillis }, ...rest, post });
      } catch (error) {
        gone(String(error));
      }
    });
    return {
      post: (message) => void setImmediate(() => core?.receive(message)),
      end: () => {
        isEnded = true;
        core?.abandon();
        core = undefined;
        setImmediate(() => gone('it was ended'));
      },
    };
  };
}
