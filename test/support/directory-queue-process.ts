/** A process that sends to, or receives from, the queue in a directory until it is killed; says on stdout what is done. */
import { writeSync } from 'node:fs';
import { openDirectoryQueue } from '#adapters/queue-directory.ts';

const [path, role] = process.argv.slice(2) as [string, 'send' | 'receive'];
const queue = await openDirectoryQueue({ path, maxBytes: 1 << 30 });
for (let at = 0; ; at++) {
  if (role === 'send') {
    const body = `${process.pid}-${at} ${'x'.repeat(20_000)}`;
    await queue.send([{ id: String(at), body }]);
    writeSync(1, `${body.split(' ')[0]}\n`);
  } else {
    for (const message of await queue.receive(10)) {
      // What is removed was applied before: it is told first.
      writeSync(1, `${message.body.split(' ')[0]}\n`);
      await queue.remove([message]);
    }
  }
}
