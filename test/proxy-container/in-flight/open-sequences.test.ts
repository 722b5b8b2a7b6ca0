import fc from 'fast-check';
import { expect, test } from 'vitest';
import { OpenSequences } from '../../../proxy-container/src/in-flight/open-sequences.ts';

test('the low water is the lowest that is open, whatever is closed in which order, across growth and wraps', () => {
  const command = fc.oneof(
    { weight: 3, arbitrary: fc.constant('open' as const) },
    { weight: 2, arbitrary: fc.nat(400) },
    { weight: 1, arbitrary: fc.constant('low' as const) },
  );
  fc.assert(
    fc.property(fc.nat(2 ** 40), fc.array(command, { maxLength: 600 }), (first, commands) => {
      const sequences = new OpenSequences(first, 512, 64);
      const open = new Set<number>();
      for (const one of commands) {
        if (one === 'open') {
          const sequence = sequences.open();
          if (sequence >= 0) open.add(sequence);
          // Full: the span between the oldest and the next fills the ring, less a word.
          else expect(sequences.next - Math.min(...open)).toBeGreaterThanOrEqual(480);
        } else if (one !== 'low') {
          // Some twice, some that were never given out.
          sequences.close(first + one);
          open.delete(first + one);
        }
        expect(sequences.low).toBe(open.size > 0 ? Math.min(...open) : sequences.next);
        expect(sequences.count).toBe(open.size);
      }
    }),
    { numRuns: 300 },
  );
});

test('after all were closed at once there is room again', () => {
  const sequences = new OpenSequences(5, 128);
  while (sequences.open() >= 0);
  expect(sequences.low).toBe(5);
  sequences.closeAll();
  expect(sequences.low).toBe(sequences.next);
  expect(sequences.open()).toBe(sequences.next - 1);
});
