import { join } from 'node:path';
import { listJars, moduleFlags } from '../../infra/local/java-command.ts';
import { jarFolder } from '../../infra/local/paths.ts';

/** Silence: only what a program prints itself is read. */
const LOGBACK = join(import.meta.dirname, 'java', 'logback.xml');

/** How a program of the benchmarks (one .java file) starts over the jars of a Cassandra version, on one core. */
export function benchJavaArguments(version: string, heapMB: number, program: string): string[] {
  return [
    `-Xmx${heapMB}m`,
    '-XX:ActiveProcessorCount=1',
    '-XX:+UseSerialGC',
    ...moduleFlags(),
    `-Dlogback.configurationFile=${LOGBACK}`,
    '-cp',
    listJars(jarFolder(version)).join(':'),
    program,
  ];
}
