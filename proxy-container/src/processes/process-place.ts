import { readdir } from 'node:fs/promises';
import { availableParallelism } from 'node:os';
import { basename, join } from 'node:path';
import type { MigrationConfig } from '#core/config/schema.ts';

/** Which of a host's processes this is. */
export interface ProcessPlace {
  /** From 1. */
  readonly index: number;
  /** The host's name in the ledger, which its processes append their numbers to. */
  readonly instance: string;
}

const VARIABLE = 'RINGSHIFT_PROCESS';

/** How many processes the configuration asks for. */
export function processCount({ processes }: MigrationConfig['proxy']): number {
  return processes === 'auto' || processes === 0 ? availableParallelism() : processes;
}

/** The environment that tells a process its place. */
export function placeVariable(place: ProcessPlace): Record<string, string> {
  return { [VARIABLE]: JSON.stringify(place) };
}

/** The place that the host has given this process. */
export function readPlace(env: Readonly<Record<string, string | undefined>>): ProcessPlace {
  return JSON.parse(env[VARIABLE] ?? '{"index":1,"instance":"proxy"}') as ProcessPlace;
}

/** Each process is an instance of its own: by its name in the ledger, and by the directory of its journal. */
export function configOfProcess(config: MigrationConfig, { index, instance }: ProcessPlace): MigrationConfig {
  return {
    ...config,
    proxy: { ...config.proxy, instance: instanceOfProcess(instance, index) },
    failedWrites: { ...config.failedWrites, journalDir: processDirectory(config.failedWrites.journalDir, index) },
  };
}

function instanceOfProcess(instance: string, index: number): string {
  return `${instance}-p${index}`;
}

/** The name of the process that used a directory, which is one of several or the only one of its host. */
export function instanceOfDirectory(directory: string, instance: string): string {
  const index = DIRECTORY_NAME.exec(basename(directory))?.[1];
  return index === undefined ? instance : instanceOfProcess(instance, Number(index));
}

const DIRECTORY_NAME = /^process-(\d{1,3})$/;

function processDirectory(journalDir: string, index: number): string {
  return join(journalDir, `process-${index}`);
}

/**
 * Directories below `journalDir`, and that one itself, in which processes may have left something that a host with so many
 * processes would not look into.
 */
export async function leftoverDirectories(journalDir: string, count: number): Promise<string[]> {
  const names = await readdir(journalDir).catch(() => []);
  const below = names.filter((name) => {
    const index = DIRECTORY_NAME.exec(name)?.[1];
    return index !== undefined && (count === 1 || Number(index) > count);
  });
  return [...(count > 1 ? [journalDir] : []), ...below.map((name) => join(journalDir, name))];
}
