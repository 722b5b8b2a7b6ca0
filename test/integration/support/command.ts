import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, vi } from 'vitest';
import { administrator } from '../../../infra/local/cluster-roles.ts';
import { runRingshift } from '../../cli/run-ringshift.ts';
import type { HostAndPort } from './test-environment.ts';

/** What a verb printed and how it ended. */
export interface CommandOutcome {
  readonly code: number;
  readonly json: Readonly<Record<string, unknown>>;
  readonly stderr: string;
}

/** Runs a verb of the `ringshift` command with a configuration; that it fails is an outcome. */
export async function runVerb(configFile: string, ...args: readonly string[]): Promise<CommandOutcome> {
  const { code, stdout, stderr } = await runRingshift([...args, '--json', '--config', configFile]);
  return { code, json: stdout === '' ? {} : (JSON.parse(stdout) as CommandOutcome['json']), stderr };
}

/** The `ringshift` command as its users run it, with a migration of its own in a folder: ledger and config. */
export class MigrationCommand {
  readonly folder: string;
  readonly configFile: string;
  readonly ledgerFolder: string;

  constructor(folder: string, origin: HostAndPort, target: HostAndPort) {
    this.folder = folder;
    this.configFile = join(folder, 'migration.yaml');
    this.ledgerFolder = join(folder, 'ledger');
    const { username, password } = administrator;
    const cluster = ({ host, port }: HostAndPort) =>
      JSON.stringify({ contactPoints: [host], port, localDatacenter: 'dc1', auth: { username, password } });
    writeFileSync(
      this.configFile,
      `origin: ${cluster(origin)}\ntarget: ${cluster(target)}\nledger: { kind: file, path: ${JSON.stringify(this.ledgerFolder)} }\n` +
        'bulkLoad: { tombstones: all, consistency: LOCAL_ONE }\n' +
        // Nothing is under way, so nothing has to be waited for between two looks at a difference.
        'validation: { settleMs: 100 }\n',
    );
  }

  /** Runs a verb; that it fails is an outcome. */
  run(...args: string[]): Promise<CommandOutcome> {
    return runVerb(this.configFile, ...args);
  }

  /** `load start --local` of a snapshot that was taken without dual writes. */
  startLoad(keyspace: string, snapshot: string, ...more: string[]): Promise<CommandOutcome> {
    const place = ['--keyspace', keyspace, '--snapshot', snapshot];
    return this.run('load', 'start', ...place, '--local', '--allow-early-snapshot', ...more);
  }

  /** The same, which must succeed. */
  async load(keyspace: string, snapshot: string, ...more: string[]): Promise<CommandOutcome> {
    const outcome = await this.startLoad(keyspace, snapshot, ...more);
    expect(`${outcome.stderr}\n${JSON.stringify(outcome.json)}`).not.toMatch(/failed":\[\{|Error/);
    expect(outcome.json['status'], outcome.stderr).toBe('done');
    return outcome;
  }
}

/** Waits until a command that was started has left something, however long the machine needs to start it. */
export function begun(look: () => Promise<readonly unknown[]>): Promise<void> {
  return vi.waitFor(async () => expect(await look()).not.toHaveLength(0), { timeout: 120_000, interval: 10 });
}
