import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { PrerequisiteError } from '#core/errors.ts';
import { projectEnvironment, venvPython } from './paths.ts';
import { requireFreePort } from './ports.ts';
import { commandLineOf, lastLines, startDaemon, stopProcess } from './processes.ts';

/** Where the local AWS listens and keeps its files. */
export interface LocalAwsSettings {
  readonly address: string;
  readonly port: number;
  readonly folder: string;
}

export const LOCAL_REGION = 'us-east-1';
export const LOCAL_ACCOUNT = '000000000000';
const START_TIMEOUT_MS = 60_000;

export function awsEndpoint(settings: LocalAwsSettings): string {
  return `http://${settings.address}:${settings.port}`;
}

/**
 * What sends every AWS SDK and the CDK to the local AWS instead of the real one. Nothing else differs: no code knows
 * of the local endpoint. Both URLs are needed, because the CDK looks S3 up by its own.
 */
export function awsEnvironment(settings: LocalAwsSettings): Record<string, string> {
  const endpoint = awsEndpoint(settings);
  return {
    AWS_ENDPOINT_URL: endpoint,
    AWS_ENDPOINT_URL_S3: endpoint,
    AWS_REGION: LOCAL_REGION,
    AWS_DEFAULT_REGION: LOCAL_REGION,
    AWS_ACCESS_KEY_ID: 'test',
    AWS_SECRET_ACCESS_KEY: 'test',
    AWS_SESSION_TOKEN: '',
    AWS_PROFILE: '',
    AWS_CONFIG_FILE: '/dev/null',
    AWS_SHARED_CREDENTIALS_FILE: '/dev/null',
    AWS_EC2_METADATA_DISABLED: 'true',
  };
}

async function isHealthy(settings: LocalAwsSettings): Promise<boolean> {
  try {
    const response = await fetch(`${awsEndpoint(settings)}/_ministack/health`, { signal: AbortSignal.timeout(2000) });
    await response.arrayBuffer();
    return response.ok;
  } catch {
    return false;
  }
}

/** A process started here carries its folder in its arguments, which tells it from another that got its pid. */
const marker = (settings: LocalAwsSettings): string => `ringshift-local-aws=${settings.folder}`;

export async function runningAwsPid(settings: LocalAwsSettings): Promise<number | undefined> {
  let pid: number;
  try {
    pid = Number(readFileSync(join(settings.folder, 'pid'), 'utf8'));
  } catch {
    return undefined;
  }
  if (!Number.isInteger(pid) || pid <= 1) return undefined;
  return (await commandLineOf(pid))?.includes(marker(settings)) ? pid : undefined;
}

export async function requireAwsPort(settings: LocalAwsSettings): Promise<void> {
  await requireFreePort(settings.address, settings.port, 'the local AWS');
}

/**
 * Starts the local AWS, empty, and resolves when it answers; one that already runs is left as it is.
 * @throws PrerequisiteError when the port is taken or it died, with the last lines of its log
 */
export async function startLocalAws(settings: LocalAwsSettings, signal?: AbortSignal): Promise<{ pid: number }> {
  const running = await runningAwsPid(settings);
  if (running !== undefined) return { pid: running };
  await requireAwsPort(settings);
  signal?.throwIfAborted();
  rmSync(settings.folder, { recursive: true, force: true });
  for (const name of ['tmp', 's3', 'state']) mkdirSync(join(settings.folder, name), { recursive: true });
  // Its function workers are CommonJS files below tmp; without this they would take our package.json for theirs.
  writeFileSync(join(settings.folder, 'tmp', 'package.json'), '{ "type": "commonjs" }\n');
  const logFile = join(settings.folder, 'aws.log');
  const child = startDaemon(
    venvPython,
    ['-c', 'import sys; sys.argv = sys.argv[:1]; from ministack.app import main; main()', marker(settings)],
    logFile,
    {
      cwd: settings.folder,
      env: projectEnvironment({
        GATEWAY_PORT: String(settings.port),
        BIND_HOST: settings.address,
        MINISTACK_HOST: settings.address,
        MINISTACK_REGION: LOCAL_REGION,
        MINISTACK_ACCOUNT_ID: LOCAL_ACCOUNT,
        TMPDIR: join(settings.folder, 'tmp'),
        STATE_DIR: join(settings.folder, 'state'),
        S3_DATA_DIR: join(settings.folder, 's3'),
        LOG_LEVEL: 'WARNING',
        // Services that nobody asked for and that would listen on all addresses.
        IOT_MTLS_ENABLED: '0',
        SFTP_ENABLED: '0',
        AWS_ACCESS_KEY_ID: 'test',
        AWS_SECRET_ACCESS_KEY: 'test',
        AWS_DEFAULT_REGION: LOCAL_REGION,
      }),
    },
  );
  let ended = false;
  child.once('error', () => {
    ended = true;
  });
  child.once('exit', () => {
    ended = true;
  });
  if (child.pid !== undefined) writeFileSync(join(settings.folder, 'pid'), String(child.pid));
  const deadline = Date.now() + START_TIMEOUT_MS;
  try {
    while (!(await isHealthy(settings))) {
      signal?.throwIfAborted();
      if (ended || Date.now() > deadline) {
        throw new PrerequisiteError(
          `The local AWS did not start on ${awsEndpoint(settings)}. Last lines of ${logFile}:\n` +
            lastLines(readFileSync(logFile, 'utf8'), 10),
        );
      }
      await sleep(200);
    }
  } catch (error) {
    await stopLocalAws(settings);
    throw error;
  }
  return { pid: child.pid as number };
}

/** Stops it together with the function processes that it started. */
export async function stopLocalAws(settings: LocalAwsSettings): Promise<void> {
  const pid = await runningAwsPid(settings);
  if (pid !== undefined) await stopProcess(pid, { group: true, graceMs: 8000 });
  rmSync(join(settings.folder, 'pid'), { force: true });
}
