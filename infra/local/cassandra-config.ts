/** The configuration files of one local node, as text: nothing here touches the disk. */

/** PEM files, so that neither keytool nor a password is needed (Cassandra 4.1 and later). */
export interface ClientTlsFiles {
  /** The node's key and certificate. */
  readonly ownFile: string;
  /** Who signs the certificates of clients. */
  readonly caFile: string;
}

/** One node of a local cluster; its data lives in `folder`. */
export interface NodeSettings {
  /** Unique on this machine; names the cluster as well. */
  readonly name: string;
  /** `major.minor.patch`, one of those that `prepare` fetched. */
  readonly version: string;
  readonly address: string;
  readonly port: number;
  readonly storagePort: number;
  /** Loopback only; must differ between nodes. */
  readonly jmxPort: number;
  readonly heapMB: number;
  readonly folder: string;
  /** Whether acknowledged writes must outlive a SIGKILL; costs write speed. */
  readonly survivesKill: boolean;
  /** The cluster's name; nodes of one cluster share it. Default: the node's name. */
  readonly cluster?: string;
  /** The node whose address others start from. Default: the node itself. */
  readonly seed?: { readonly address: string; readonly storagePort: number };
  /** What SSTables 5.0 writes: its default is `nb`, as 4.0 and 4.1 do. */
  readonly sstableFormat?: 'oa' | 'da';
  /** Whether writes that a replica missed are kept for it. Default: true. */
  readonly keepsHints?: boolean;
  /** Whether clients have to log in. Default: true. */
  readonly asksForLogin?: boolean;
  /** Clients come by TLS, with a certificate of theirs. Default: without TLS. */
  readonly clientTls?: ClientTlsFiles;
  /** Whether the JVM uses all its compilers, for measurements. Default: the quick one only. */
  readonly compilesFully?: boolean;
}

/** Under group sync a write keeps its thread until the window ends, so few threads would cap the rate. */
const WRITES_WAITING_FOR_SYNC = 128;

/** A machine that runs several nodes and what is tested beside them is busy: rounds that meet take longer than Cassandra's second. */
const CONTENTION_MS = 10_000;

/** JSON is YAML: a quoted string keeps paths with spaces and colons whole. */
const quoted = (value: string): string => JSON.stringify(value);

/**
 * Cassandra's default syncs the commit log now and then, counting on the other replicas when a node is killed. A single
 * node that is going to be killed has none, so it syncs before it answers.
 */
function commitLogSync(settings: NodeSettings): string {
  return settings.survivesKill
    ? 'commitlog_sync: group\ncommitlog_sync_group_window: 10ms'
    : 'commitlog_sync: periodic\ncommitlog_sync_period: 10000ms';
}

/** What clients must speak: TLS with certificates on both sides, or nothing of the kind. */
function clientEncryption({ clientTls }: NodeSettings): string {
  if (clientTls === undefined) return '';
  return `client_encryption_options:
  enabled: true
  optional: false
  require_client_auth: true
  ssl_context_factory:
    class_name: org.apache.cassandra.security.PEMBasedSslContextFactory
  keystore: ${quoted(clientTls.ownFile)}
  truststore: ${quoted(clientTls.caFile)}
`;
}

/** 5.0 writes files that 4.x can read until it is told that there is no 4.x left. */
function sstableFormat({ sstableFormat }: NodeSettings): string {
  if (sstableFormat === undefined) return '';
  return `storage_compatibility_mode: NONE\n${sstableFormat === 'da' ? 'sstable:\n  selected_format: bti\n' : ''}`;
}

/** Cassandra 4.0 has the units in the names of its settings, not beside their values. */
function withUnitsInNames(yaml: string): string {
  return yaml.replace(/^(\w+): (\d+)(MiB|ms)$/gm, (_, name: string, value: string, unit: string) => {
    return `${name}_in_${unit === 'MiB' ? 'mb' : unit}: ${value}`;
  });
}

/**
 * cassandra.yaml of a small node, with passwords and permissions unless told otherwise. Only what differs from Cassandra's own
 * defaults, or what has none, is set.
 */
export function cassandraYaml(settings: NodeSettings): string {
  const { folder, address, seed = settings, asksForLogin = true } = settings;
  const yaml = `cluster_name: ${quoted(settings.cluster ?? settings.name)}
num_tokens: 16
partitioner: org.apache.cassandra.dht.Murmur3Partitioner
seed_provider:
  - class_name: org.apache.cassandra.locator.SimpleSeedProvider
    parameters:
      - seeds: ${quoted(`${seed.address}:${seed.storagePort}`)}
listen_address: ${address}
rpc_address: ${address}
storage_port: ${settings.storagePort}
native_transport_port: ${settings.port}
start_native_transport: true
native_transport_max_frame_size: 16MiB
endpoint_snitch: GossipingPropertyFileSnitch
dynamic_snitch: false
auto_bootstrap: false
data_file_directories: [${quoted(`${folder}/data`)}]
commitlog_directory: ${quoted(`${folder}/commitlog`)}
hints_directory: ${quoted(`${folder}/hints`)}
saved_caches_directory: ${quoted(`${folder}/saved_caches`)}
cdc_raw_directory: ${quoted(`${folder}/cdc_raw`)}
${commitLogSync(settings)}
commitlog_segment_size: 8MiB
commitlog_total_space: 128MiB
memtable_heap_space: 64MiB
memtable_offheap_space: 64MiB
file_cache_size: 32MiB
networking_cache_size: 32MiB
concurrent_reads: 8
concurrent_writes: ${settings.survivesKill ? WRITES_WAITING_FOR_SYNC : 8}
concurrent_counter_writes: 8
cas_contention_timeout: ${CONTENTION_MS}ms
auto_snapshot: false
authenticator: ${asksForLogin ? 'PasswordAuthenticator' : 'AllowAllAuthenticator'}
authorizer: ${asksForLogin ? 'CassandraAuthorizer' : 'AllowAllAuthorizer'}
role_manager: CassandraRoleManager
hinted_handoff_enabled: ${settings.keepsHints ?? true}
${clientEncryption(settings)}${sstableFormat(settings)}`;
  return settings.version.startsWith('4.0.') ? withUnitsInNames(yaml) : yaml;
}

export function rackProperties(): string {
  return 'dc=dc1\nrack=rack1\n';
}

export function logbackXml(logFile: string): string {
  const escaped = logFile.replaceAll('&', '&amp;').replaceAll('<', '&lt;');
  return `<configuration>
  <appender name="FILE" class="ch.qos.logback.core.FileAppender">
    <file>${escaped}</file>
    <encoder><pattern>%-5level [%thread] %date{ISO8601} %F:%L - %msg%n</pattern></encoder>
  </appender>
  <root level="INFO"><appender-ref ref="FILE"/></root>
</configuration>
`;
}

/** The tools log to stderr, so that stdout holds their answer alone. */
export function toolLogbackXml(): string {
  return `<configuration>
  <appender name="ERR" class="ch.qos.logback.core.ConsoleAppender">
    <target>System.err</target>
    <encoder><pattern>%-5level %msg%n</pattern></encoder>
  </appender>
  <root level="WARN"><appender-ref ref="ERR"/></root>
</configuration>
`;
}
