/** zdm-proxy's settings as overrides of ours, so that its deployments start with this proxy in its place. */
import type { ConfigIssue } from '../errors.ts';
import { type Phase, phases } from './schema.ts';
import { type ZdmRule, zdmVariables } from './zdm-variables.ts';

type Tree = Record<string, unknown>;

export interface ZdmSettings {
  /** Whether there are any. */
  readonly isEmpty: boolean;
  /** By dotted path. */
  readonly overrides: ReadonlyMap<string, unknown>;
  /** What zdm-proxy calls the level, in our words. */
  readonly logLevel: string | undefined;
  /** What is not taken over as it is, each with the variable's name; never its value. */
  readonly warnings: readonly string[];
  readonly faults: readonly ConfigIssue[];
}

/** Variables that Kubernetes makes for a service called zdm… */
const OF_KUBERNETES = /_SERVICE_(HOST|PORT)(_\w+)?$|_PORT(_\d+_(TCP|UDP|SCTP)(_\w+)?)?$/;

/** Reads the `ZDM_…` variables of an environment. Empty ones are taken as not set, as they often stand in templates. */
export function readZdmEnvironment(env: Readonly<Record<string, string | undefined>>): ZdmSettings {
  const given = new Map<string, string>();
  for (const [name, value] of Object.entries(env)) {
    if (name.startsWith('ZDM_') && value !== undefined && value !== '') given.set(name, value);
  }
  const overrides = new Map<string, unknown>();
  const warnings: string[] = [];
  const faults: ConfigIssue[] = [];
  const fault = (path: string, message: string) => faults.push({ path, message });
  for (const [name, text] of given) {
    const rule = zdmVariables.get(name);
    if (!rule) {
      if (OF_KUBERNETES.test(name)) given.delete(name);
      else warnings.push(`${name} is ignored: neither zdm-proxy nor this proxy has such a setting`);
    } else if (rule.kind === 'ignored') warnings.push(`${name} is ignored: ${rule.why}`);
    else if (rule.kind === 'set') setValue(rule, name, text, overrides, fault);
  }
  setTls(given, overrides, fault);
  setLogins(given, overrides);
  setTopology(given, overrides, fault);
  setPhase(given, overrides, warnings, fault);
  setMetrics(given, overrides, warnings, fault);
  return { isEmpty: given.size === 0, overrides, logLevel: levelOf(given.get('ZDM_LOG_LEVEL')), warnings, faults };
}

/** Whether a file is zdm-proxy's own: then its keys are these variables. */
export function zdmFileVariables(value: unknown): Record<string, string> | undefined {
  if (typeof value !== 'object' || value === null) return undefined;
  const entries = Object.entries(value).map(([key, one]) => [`ZDM_${key.toUpperCase()}`, one] as const);
  const isZdm = entries.length > 0 && entries.every(([name]) => zdmVariables.has(name));
  return isZdm ? Object.fromEntries(entries.map(([name, one]) => [name, one === null ? '' : String(one)])) : undefined;
}

/** What zdm-proxy does where nothing is set. */
const DEFAULTS = {
  proxy: {
    listen: { host: 'localhost', port: 14002 },
    admin: { host: 'localhost', port: 14001 },
    initialPhase: 'dual-sync',
    maxClients: 1000,
  },
};

/**
 * Puts the overrides into what the configuration file says, before its schema is looked at.
 * @param value undefined: there is no file of ours, and zdm-proxy's defaults hold where they differ from ours
 */
export function applyZdmSettings(value: unknown, { overrides }: ZdmSettings): unknown {
  const tree = structuredClone(typeof value === 'object' && value !== null ? value : DEFAULTS) as Tree;
  for (const [path, override] of overrides) {
    const keys = path.split('.');
    let at = tree;
    for (const key of keys.slice(0, -1)) {
      const below = at[key];
      at = at[key] = typeof below === 'object' && below !== null ? (below as Tree) : {};
    }
    at[keys.at(-1)!] = override;
  }
  return tree;
}

type Fault = (path: string, message: string) => void;

function setValue(
  rule: Extract<ZdmRule, { kind: 'set' }>,
  name: string,
  text: string,
  overrides: Map<string, unknown>,
  fault: Fault,
): void {
  let value: unknown = text;
  if (rule.as === 'list') value = text.split(',').flatMap((one) => one.trim() || []);
  if (rule.as === 'number') {
    value = Number(text);
    if (!Number.isSafeInteger(value)) {
      fault(name, 'must be a whole number');
      return;
    }
  }
  for (const path of rule.paths) overrides.set(path, value);
}

function booleanOf(name: string, given: ReadonlyMap<string, string>, fault: Fault): boolean | undefined {
  const text = given.get(name)?.toLowerCase();
  if (text === undefined) return undefined;
  // What Go's strconv.ParseBool takes.
  if (['1', 't', 'true'].includes(text)) return true;
  if (['0', 'f', 'false'].includes(text)) return false;
  fault(name, 'must be true or false');
  return undefined;
}

/** A certificate authority switches TLS on. */
function setTls(given: ReadonlyMap<string, string>, overrides: Map<string, unknown>, fault: Fault): void {
  for (const section of ['origin', 'target']) {
    if (overrides.has(`${section}.tls.caFile`)) overrides.set(`${section}.tls.enabled`, true);
    else if (overrides.has(`${section}.tls.certFile`) || overrides.has(`${section}.tls.keyFile`)) {
      const name = `ZDM_${section.toUpperCase()}_TLS_SERVER_CA_PATH`;
      fault(name, 'is needed beside the certificate and key of the client: without it there would be no TLS');
    }
  }
  const mustHave = booleanOf('ZDM_PROXY_TLS_REQUIRE_CLIENT_AUTH', given, fault);
  if (overrides.has('proxy.listen.tls.certFile') && mustHave !== undefined) {
    overrides.set('proxy.listen.tls.requireClientCertificate', mustHave);
  }
}

/** Clients give the login of one cluster there; on the other one, that user is the configured one. */
function setLogins(given: ReadonlyMap<string, string>, overrides: Map<string, unknown>): void {
  const login = (name: 'ORIGIN' | 'TARGET') => {
    const username = given.get(`ZDM_${name}_USERNAME`);
    return username === undefined ? undefined : { username, password: given.get(`ZDM_${name}_PASSWORD`) ?? '' };
  };
  const [origin, target] = [login('ORIGIN'), login('TARGET')];
  if (origin) overrides.set('origin.auth', origin);
  if (target) overrides.set('target.auth', target);
  if (!origin || !target) return;
  const isOrigins = /^(1|t|true)$/i.test(given.get('ZDM_FORWARD_CLIENT_CREDENTIALS_TO_ORIGIN') ?? '');
  const mapping = isOrigins
    ? { [origin.username]: { origin: null, target } }
    : { [target.username]: { origin, target: null } };
  if (origin.username !== target.username || origin.password !== target.password) {
    overrides.set('proxy.logins.mapping', mapping);
  }
}

function setTopology(given: ReadonlyMap<string, string>, overrides: Map<string, unknown>, fault: Fault): void {
  const name = 'ZDM_PROXY_TOPOLOGY_INDEX';
  const text = given.get(name);
  const addresses = overrides.get('proxy.topology.sisters') as readonly string[] | undefined;
  if (text === undefined || addresses === undefined) return;
  const address = addresses[Number(text)];
  if (address === undefined) fault(name, 'must be a place in ZDM_PROXY_TOPOLOGY_ADDRESSES, from 0');
  else overrides.set('proxy.topology.address', address);
}

function setPhase(
  given: ReadonlyMap<string, string>,
  overrides: Map<string, unknown>,
  warnings: string[],
  fault: Fault,
): void {
  const primary = given.get('ZDM_PRIMARY_CLUSTER')?.toUpperCase();
  if (primary !== undefined && primary !== 'ORIGIN' && primary !== 'TARGET') {
    fault('ZDM_PRIMARY_CLUSTER', 'must be ORIGIN or TARGET');
  }
  const readMode = given.get('ZDM_READ_MODE')?.toUpperCase();
  if (readMode === 'DUAL_ASYNC_ON_SECONDARY' || readMode === 'ASYNC_READS_ON_SECONDARY') {
    overrides.set('proxy.reads.mode', 'dualAsync');
  } else if (readMode === 'PRIMARY_ONLY') overrides.set('proxy.reads.mode', 'primary');
  else if (readMode !== undefined) fault('ZDM_READ_MODE', 'must be PRIMARY_ONLY or DUAL_ASYNC_ON_SECONDARY');
  const isAsync = booleanOf('ZDM_ASYNC_HANDOFF_ENABLED', given, fault);
  const writesTarget = booleanOf('ZDM_ENABLE_TARGET_WRITES', given, fault);
  const letter = given.get('ZDM_PHASE');
  const dual: Phase = isAsync ? 'dual-async' : 'dual-sync';
  let phase: Phase | undefined;
  if (letter !== undefined) {
    const byLetter: Readonly<Record<string, Phase>> = { A: 'origin-only', B: dual, C: 'target-primary' };
    phase = byLetter[letter.toUpperCase()] ?? phases.find((name) => name === letter);
    if (!phase) fault('ZDM_PHASE', `must be A, B or C, or one of ${phases.join(', ')}`);
  } else if (primary === 'TARGET') phase = 'target-primary';
  else if (primary === 'ORIGIN' || isAsync || writesTarget) phase = dual;
  if (writesTarget === false && (phase === undefined || phase === dual)) phase = 'origin-only';
  if (phase === undefined) return;
  overrides.set('proxy.initialPhase', phase);
  const names = ['ZDM_PRIMARY_CLUSTER', 'ZDM_PHASE', 'ZDM_ASYNC_HANDOFF_ENABLED', 'ZDM_ENABLE_TARGET_WRITES'];
  const which = names.filter((name) => given.has(name)).join(', ');
  warnings.push(
    `${which} is the phase of the first start only (${phase}); afterwards the ledger has it: ringshift phase set`,
  );
}

function setMetrics(
  given: ReadonlyMap<string, string>,
  overrides: Map<string, unknown>,
  warnings: string[],
  fault: Fault,
): void {
  const isEnabled = booleanOf('ZDM_METRICS_ENABLED', given, fault);
  if (isEnabled === false) {
    warnings.push(
      'ZDM_METRICS_ENABLED is ignored: the admin API always answers; bind it to loopback with proxy.admin.host',
    );
    overrides.delete('proxy.admin.zdmMetricsPrefix');
  } else if (given.size > 0 && !overrides.has('proxy.admin.zdmMetricsPrefix')) {
    overrides.set('proxy.admin.zdmMetricsPrefix', 'zdm');
  }
}

/** logrus has more levels than we. */
function levelOf(text: string | undefined): string | undefined {
  if (text === undefined) return undefined;
  const levels: Readonly<Record<string, string>> = { trace: 'debug', warning: 'warn', fatal: 'error', panic: 'error' };
  const lower = text.toLowerCase();
  return levels[lower] ?? lower;
}
