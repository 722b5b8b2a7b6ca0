/**
 * The key names of IPFS Cluster's ScyllaDB state store, as `origin` and `target` take them beside their own: each is
 * translated before the schema looks at it, and faults keep the name and the line that the file has.
 */

type Path = readonly string[];
type Section = Record<string, unknown>;

/** A fault of a key, by the path that it has in the file. */
export interface AliasFault {
  readonly path: Path;
  readonly message: string;
}

/** A configuration under the own names only. */
export interface Unaliased {
  readonly value: unknown;
  readonly faults: readonly AliasFault[];
  /** The path in the file of what has this path under the own names. */
  pathInFile(path: Path): Path;
}

/** What a value becomes, or why it may not be there. */
type Translation = { readonly value: unknown } | { readonly refused: string } | 'drop';
type Translate = (value: unknown) => Translation;

interface Alias {
  /** Where it goes, below the section; several places for a text that says several things. */
  readonly to: readonly Path[];
  readonly translate: Translate;
}

const same: Translate = (value) => ({ value });
const refuse =
  (refused: string): Translate =>
  () => ({ refused });
/** A switch of which one position is how things are here anyway. */
const only =
  (accepted: boolean, refused: string): Translate =>
  (value) =>
    value === accepted ? 'drop' : { refused };

const alias = (to: string, translate: Translate = same): Alias => ({ to: [to.split('.')], translate });
const nowhere = (translate: Translate): Alias => ({ to: [], translate });

const MILLISECONDS = { h: 3_600_000, m: 60_000, s: 1000, ms: 1 } as const;

const duration: Translate = (value) => {
  const refused = 'must be a duration such as "10s" or "100ms" (h, m, s, ms), whole milliseconds';
  if (typeof value !== 'string' || !/^(\d{1,9}(\.\d{1,6})?(h|ms|m|s))+$/.test(value)) return { refused };
  let sum = 0;
  for (const [, digits, , unit] of value.matchAll(/(\d+(\.\d+)?)(h|ms|m|s)/g)) {
    sum += Number(digits) * MILLISECONDS[unit as keyof typeof MILLISECONDS];
  }
  return Number.isInteger(sum) ? { value: sum } : { refused };
};

const MOST_RETRIES = 19;
/** The first attempt is no retry. */
const attempts: Translate = (value) =>
  Number.isInteger(value) && Number(value) >= 0 && Number(value) <= MOST_RETRIES
    ? { value: Number(value) + 1 }
    : { refused: `must be a whole number from 0 to ${MOST_RETRIES}; retry.maxAttempts is one more` };

/** By the path below `origin` or `target`. */
const aliases = new Map<string, Alias>([
  ['hosts', alias('contactPoints')],
  ['username', alias('auth.username')],
  ['password', alias('auth.password')],
  ['num_conns', alias('connectionsPerHost')],
  ['timeout', alias('requestTimeoutMs', duration)],
  ['connect_timeout', alias('connectTimeoutMs', duration)],
  ['max_wait_time', alias('maxWaitMs', duration)],
  ['serial_consistency', alias('consistency.serial')],
  ['token_aware_routing', alias('routing.tokenAware')],
  [
    'dc_aware_routing',
    nowhere(
      only(
        true,
        'can only be true: a level such as LOCAL_QUORUM means the data centre of the node that is asked; set localDatacenter to the one that is meant',
      ),
    ),
  ],
  ['local_dc', alias('localDatacenter')],
  ['page_size', alias('pageSize')],
  ['prepared_statement_cache_size', alias('preparedCacheSize')],
  ['tls.cert_file', alias('tls.certFile')],
  ['tls.key_file', alias('tls.keyFile')],
  ['tls.ca_file', alias('tls.caFile')],
  [
    'tls.insecure_skip_verify',
    nowhere(
      only(
        false,
        'can only be false: certificates are always verified. Name the authority that signed them as tls.caFile; where their names differ from the hosts, set tls.verifyHostname: false',
      ),
    ),
  ],
  ['retry_policy.num_retries', alias('retry.maxAttempts', attempts)],
  ['retry_policy.min_retry_delay', alias('retry.minDelayMs', duration)],
  ['retry_policy.max_retry_delay', alias('retry.maxDelayMs', duration)],
  ['retry_policy.retryable_errors', alias('retry.on')],
  [
    'tracing_enabled',
    nowhere(only(false, 'can only be false: requests are traced on the nodes, by nodetool settraceprobability')),
  ],
  ['metrics_enabled', nowhere(only(true, 'can only be true: the proxy always has /metrics (proxy.admin)'))],
  ['log_level', nowhere(refuse('belongs into the environment: RINGSHIFT_LOG_LEVEL=debug|info|warn|error'))],
  [
    'keyspace',
    nowhere(refuse('belongs elsewhere: the keyspace of the ledger is ledger.keyspace (ledger.kind: cassandra)')),
  ],
]);

const SECTIONS = ['origin', 'target'];
/** The section of which nothing is left once its keys are translated. */
const FOREIGN_SECTION = 'retry_policy';

/** Puts the own names in the place of the aliases in `origin` and `target`. The value that is given stays as it is. */
export function withoutAliases(config: unknown): Unaliased {
  const faults: AliasFault[] = [];
  const inFile = new Map<string, Path>();
  if (!isSection(config)) return { value: config, faults, pathInFile: (path) => path };
  const value: Section = { ...config };
  for (const name of SECTIONS) {
    const section = value[name];
    if (isSection(section)) value[name] = translateSection(name, section, faults, inFile);
  }
  return { value, faults, pathInFile: (path) => toFilePath(path, inFile) };
}

function translateSection(name: string, given: Section, faults: AliasFault[], inFile: Map<string, Path>): Section {
  const section = structuredClone(given);
  const fault = (path: Path, message: string): void => void faults.push({ path: [name, ...path], message });
  const put = (to: Path, value: unknown, from: Path): void => {
    if (readAt(section, to) !== undefined) {
      const own = inFile.get([name, ...to].join('.')) ?? [name, ...to];
      fault(from, `says the same as ${own.join('.')}: give one of them`);
      return;
    }
    if (!writeAt(section, to, value)) return;
    inFile.set([name, ...to].join('.'), [name, ...from]);
  };
  // The one key whose name is the same here and there, and its form is not.
  if (typeof section['consistency'] === 'string') {
    const level = section['consistency'];
    section['consistency'] = {};
    for (const key of ['read', 'write']) put(['consistency', key], level, ['consistency']);
  }
  const logins = ['username', 'password'].filter((key) => Object.hasOwn(section, key));
  const [login, ...others] = logins;
  if (login !== undefined && others.length === 0) {
    fault([login], 'needs username and password, both');
    delete section[login];
  }
  const hasAuth = Object.hasOwn(section, 'auth');
  for (const [key, { to, translate }] of aliases) {
    const from = key.split('.');
    if (hasAuth && logins.includes(key)) {
      fault(from, `says the same as ${name}.auth: give one of them`);
      delete section[key];
      continue;
    }
    const value = takeAt(section, from);
    if (value === undefined) continue;
    const translated = translate(value);
    if (translated === 'drop') continue;
    if ('refused' in translated) fault(from, translated.refused);
    else for (const place of to) put(place, translated.value, from);
  }
  const rest = section[FOREIGN_SECTION];
  if (isSection(rest)) {
    for (const key of Object.keys(rest)) fault([FOREIGN_SECTION, key], 'unknown key');
    delete section[FOREIGN_SECTION];
  }
  return section;
}

/** The longest part of a path that came from elsewhere decides. */
function toFilePath(path: Path, inFile: ReadonlyMap<string, Path>): Path {
  for (let length = path.length; length > 0; length--) {
    const from = inFile.get(path.slice(0, length).join('.'));
    if (from) return [...from, ...path.slice(length)];
  }
  return path;
}

function isSection(value: unknown): value is Section {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function readAt(section: Section, [first = '', second]: Path): unknown {
  const value = section[first];
  if (second === undefined) return value;
  return isSection(value) ? value[second] : undefined;
}

/** Takes the value out; undefined where there is none. */
function takeAt(section: Section, path: Path): unknown {
  const parent = path.length === 1 ? section : section[path[0]!];
  const key = path.at(-1)!;
  if (!isSection(parent) || !Object.hasOwn(parent, key)) return undefined;
  const value = parent[key];
  delete parent[key];
  return value;
}

/** False where something else than a section is in its way, which the schema will tell of. */
function writeAt(section: Section, [first = '', second]: Path, value: unknown): boolean {
  if (second === undefined) {
    section[first] = value;
    return true;
  }
  const parent = section[first] ?? {};
  if (!isSection(parent)) return false;
  section[first] = parent;
  parent[second] = value;
  return true;
}
