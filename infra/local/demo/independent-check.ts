import { spawn } from 'node:child_process';
import { join } from 'node:path';
import { RunFailedError } from '#core/errors.ts';
import { administrator } from '../cluster-roles.ts';
import type { LocalEnvironment } from '../environment.ts';
import { filteredTenant } from '../local-migration.ts';
import { venvPython } from '../paths.ts';
import { lastLines } from '../processes.ts';
import { tables } from './tables.ts';

/** What the Python reader found in one table. */
export interface TableComparison {
  readonly table: string;
  readonly rows: number;
  readonly partitions: number;
  readonly cells: number;
  readonly expiring: number;
  /** Rows that differed at first sight, because a write was on its way. */
  readonly readAgain: number;
  readonly filteredRows: number;
  readonly filteredOnTarget: number;
  readonly differences: readonly { readonly key: readonly string[]; readonly differences: readonly string[] }[];
  readonly differenceCount: number;
}

/** Compares all tables with the Python driver. @throws RunFailedError when the reader itself fails */
export async function compareIndependently(
  environment: LocalEnvironment,
  signal: AbortSignal,
): Promise<readonly TableComparison[]> {
  const request = {
    origin: { host: environment.origin.address, port: environment.origin.port },
    target: { host: environment.target.address, port: environment.target.port },
    ...administrator,
    tables: tables.map(({ keyspace, table }) => `${keyspace}.${table}`),
    filtered: { 'files_keyspace.files': { column: 'system_domain_id', values: [filteredTenant] } },
  };
  const text = await runReader(JSON.stringify(request), signal);
  return (JSON.parse(text) as { tables: TableComparison[] }).tables;
}

function runReader(input: string, signal: AbortSignal): Promise<string> {
  return new Promise((resolve, reject) => {
    const child = spawn(venvPython, [join(import.meta.dirname, 'independent-reader.py')], { signal });
    let stdout = '';
    let stderr = '';
    child.stdout.setEncoding('utf8').on('data', (chunk: string) => {
      stdout += chunk;
    });
    child.stderr.setEncoding('utf8').on('data', (chunk: string) => {
      stderr = (stderr + chunk).slice(-10_000);
    });
    child.once('error', reject);
    child.once('close', (code) => {
      if (code === 0) resolve(stdout);
      else reject(new RunFailedError(`the independent reader failed:\n${lastLines(stderr, 10)}`));
    });
    child.stdin.end(input);
  });
}
