import { join } from 'node:path';
import { testCompiledDriver } from './support/compiled-program.ts';

testCompiledDriver({
  title: 'the Rust driver',
  folder: 'rust',
  compiler: 'cargo',
  remedy: 'install Rust 1.88 or later (https://rustup.rs)',
  port: 25_410,
  build: (output) => ({ args: ['build', '--locked', '--quiet'], env: { CARGO_TARGET_DIR: output } }),
  program: (output) => join(output, 'debug', 'driver-checks'),
});
