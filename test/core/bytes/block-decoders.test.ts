import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import wabt from 'wabt';
import { blockDecodersModule } from '#core/bytes/block-decoders.ts';

test('the embedded module is what its source compiles to', async () => {
  const source = readFileSync(new URL('../../../core/bytes/block-decoders.wat', import.meta.url), 'utf8');
  const { parseWat } = await wabt();
  const module = parseWat('block-decoders.wat', source, { simd: true });
  module.validate();
  // After a change of the source, this is what belongs into block-decoders.ts.
  const compiled = Buffer.from(module.toBinary({}).buffer).toString('base64');
  expect(Buffer.from(blockDecodersModule()).toString('base64')).toBe(compiled);
});
