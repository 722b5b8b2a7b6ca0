#!/usr/bin/env node
// The installed command. Type stripping needs Node 24: the one that the project brings is used when this one is older.
import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const here = dirname(fileURLToPath(import.meta.url));
const own = join(here, '..', 'node_modules', '.bin', 'node');
const command = [join(here, 'main.ts'), ...process.argv.slice(2)];
if (Number(process.versions.node.split('.')[0]) >= 24 || !existsSync(own)) {
  process.argv.splice(1, 1, command[0]);
  await import('./main.ts');
} else {
  // A proxy looks after this process, and drains when it is gone.
  const env = { ...process.env, RINGSHIFT_PARENT: String(process.pid) };
  const child = spawn(own, command, { stdio: 'inherit', env });
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.on(signal, () => child.kill(signal));
  child.on('exit', (code, signal) => process.exit(signal ? 1 : (code ?? 1)));
}
