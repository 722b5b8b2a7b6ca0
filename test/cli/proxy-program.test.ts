import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test, vi } from 'vitest';
import { proxyProgram } from '../../cli/proxy-program.ts';

test('where no bundle can be kept the proxy runs from its sources, and says so', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'ringshift-program-'));
  const told = vi.spyOn(process.stderr, 'write').mockReturnValue(true);
  try {
    const file = join(folder, 'file');
    writeFileSync(file, '');
    expect(await proxyProgram(join(file, 'cache'))).toMatch(/main\.ts$/);
    expect(told.mock.calls.flat().join('')).toContain('not bundled');
    expect(await proxyProgram(join(folder, 'cache'))).toMatch(/main\.mjs$/);
  } finally {
    told.mockRestore();
    rmSync(folder, { recursive: true, force: true });
  }
});
