import { execFile } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { expect, vi } from 'vitest';
import { administrator } from '../../../infra/local/cluster-roles.ts';
import { projectRoot } from '../../../infra/local/paths.ts';
import type { HostAndPort } from './test-environment.ts';

/** What a verb printed and how it ended. */
export interface CommandOutcome {
  readonly code: number;
  readonly json: Readonly<Record<string, unknown>>;
  readonly stderr: string;
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
        'bulkLoad: { tombstones: all, consistency: LOCAL_ONE }\n',
    );
  }

  /** Runs a verb; that it fails is an outcome. */
  async run(...args: string[]): Promise<CommandOutcome> {
    const command = [join(projectRoot, 'cli', 'main.ts'), ...args, '--json', '--config', this.configFile];
    const parse = (text: string) => (text === '' ? {} : (JSON.parse(text) as Record<string, unknown>));
    try {
      const { stdout, stderr } = await promisify(execFile)(process.execPath, command, { maxBuffer: 1 << 26 });
      return { code: 0, json: parse(stdout), stderr };
    } catch (error) {
      const { code, stdout, stderr } = error as { code: number; stdout: string; stderr: string };
      return { code, json: parse(stdout), stderr };
    }
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
