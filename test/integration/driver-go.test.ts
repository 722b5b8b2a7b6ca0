import { join } from 'node:path';
import { testCompiledDriver } from './support/compiled-program.ts';

testCompiledDriver({
  title: 'gocql',
  folder: 'go',
  compiler: 'go',
  remedy: 'install Go 1.25 or later (https://go.dev/dl)',
  port: 25_400,
  build: (output) => ({ args: ['build', '-trimpath', '-o', join(output, 'driver-checks'), '.'] }),
  program: (output) => join(output, 'driver-checks'),
});
