/**
 * Every variable of zdm-proxy's configuration (v2.4), and what becomes of it here. The same names in lower case and without
 * `ZDM_` are the keys of its YAML file.
 */

type Conversion = 'text' | 'list' | 'number';

/** `set`: the value of a key of ours. `special`: see zdm-environment.ts. `ignored`: why nothing is lost by that. */
export type ZdmRule =
  | { readonly kind: 'set'; readonly paths: readonly string[]; readonly as: Conversion }
  | { readonly kind: 'special' }
  | { readonly kind: 'ignored'; readonly why: string };

const set = (as: Conversion, ...paths: string[]): ZdmRule => ({ kind: 'set', paths, as });
const ignored = (why: string): ZdmRule => ({ kind: 'ignored', why });
const special: ZdmRule = { kind: 'special' };

const BUCKETS = 'the buckets of histograms are fixed';
const BUFFERS = 'buffers and queues are bounded by bytes and need no setting';
const WORKERS = 'set proxy.processes for more cores';
const HEARTBEAT = 'a silent node is asked after 30 s, and left when it does not answer within 5 s';

const cluster = (name: 'ORIGIN' | 'TARGET'): [string, ZdmRule][] => {
  const section = name.toLowerCase();
  return [
    [`ZDM_${name}_CONTACT_POINTS`, set('list', `${section}.contactPoints`)],
    [`ZDM_${name}_PORT`, set('number', `${section}.port`)],
    [`ZDM_${name}_SECURE_CONNECT_BUNDLE_PATH`, set('text', `${section}.secureConnectBundle`)],
    [`ZDM_${name}_LOCAL_DATACENTER`, set('text', `${section}.localDatacenter`)],
    [`ZDM_${name}_USERNAME`, special],
    [`ZDM_${name}_PASSWORD`, special],
    [`ZDM_${name}_CONNECTION_TIMEOUT_MS`, set('number', `${section}.connectTimeoutMs`)],
    [`ZDM_${name}_TLS_SERVER_CA_PATH`, set('text', `${section}.tls.caFile`)],
    [`ZDM_${name}_TLS_CLIENT_CERT_PATH`, set('text', `${section}.tls.certFile`)],
    [`ZDM_${name}_TLS_CLIENT_KEY_PATH`, set('text', `${section}.tls.keyFile`)],
    [`ZDM_${name}_ENABLE_HOST_ASSIGNMENT`, ignored('connections are shared and go to all nodes in turn')],
  ];
};

export const zdmVariables: ReadonlyMap<string, ZdmRule> = new Map<string, ZdmRule>([
  ...cluster('ORIGIN'),
  ...cluster('TARGET'),
  ['ZDM_PRIMARY_CLUSTER', special],
  ['ZDM_READ_MODE', special],
  ['ZDM_PHASE', special],
  ['ZDM_ASYNC_HANDOFF_ENABLED', special],
  ['ZDM_ENABLE_TARGET_WRITES', special],
  ['ZDM_LOG_LEVEL', special],
  ['ZDM_FORWARD_CLIENT_CREDENTIALS_TO_ORIGIN', special],
  ['ZDM_PROXY_TOPOLOGY_ADDRESSES', set('list', 'proxy.topology.sisters')],
  ['ZDM_PROXY_TOPOLOGY_INDEX', special],
  ['ZDM_PROXY_TOPOLOGY_NUM_TOKENS', ignored('the number of tokens that drivers see is fixed')],
  ['ZDM_PROXY_LISTEN_ADDRESS', set('text', 'proxy.listen.host')],
  ['ZDM_PROXY_LISTEN_PORT', set('number', 'proxy.listen.port')],
  ['ZDM_PROXY_REQUEST_TIMEOUT_MS', set('number', 'origin.requestTimeoutMs', 'target.requestTimeoutMs')],
  ['ZDM_PROXY_MAX_CLIENT_CONNECTIONS', set('number', 'proxy.maxClients')],
  ['ZDM_PROXY_MAX_STREAM_IDS', ignored('connections are shared and have 4096 stream ids each')],
  ['ZDM_PROXY_TLS_CA_PATH', set('text', 'proxy.listen.tls.caFile')],
  ['ZDM_PROXY_TLS_CERT_PATH', set('text', 'proxy.listen.tls.certFile')],
  ['ZDM_PROXY_TLS_KEY_PATH', set('text', 'proxy.listen.tls.keyFile')],
  ['ZDM_PROXY_TLS_REQUIRE_CLIENT_AUTH', special],
  ['ZDM_METRICS_ADDRESS', set('text', 'proxy.admin.host')],
  ['ZDM_METRICS_PORT', set('number', 'proxy.admin.port')],
  ['ZDM_METRICS_PREFIX', set('text', 'proxy.admin.zdmMetricsPrefix')],
  ['ZDM_METRICS_ENABLED', special],
  ['ZDM_METRICS_ORIGIN_LATENCY_BUCKETS_MS', ignored(BUCKETS)],
  ['ZDM_METRICS_TARGET_LATENCY_BUCKETS_MS', ignored(BUCKETS)],
  ['ZDM_METRICS_ASYNC_READ_LATENCY_BUCKETS_MS', ignored(BUCKETS)],
  ['ZDM_REPLACE_CQL_FUNCTIONS', ignored('now(), uuid() and their kin are always evaluated once, for both clusters')],
  ['ZDM_SYSTEM_QUERIES_MODE', ignored('other system tables are read from the cluster that answers in the phase')],
  [
    'ZDM_ASYNC_HANDSHAKE_TIMEOUT_MS',
    ignored('there is no third connection for each client; see target.connectTimeoutMs'),
  ],
  ['ZDM_CONTROL_CONN_MAX_PROTOCOL_VERSION', ignored('v3 to v5 are negotiated, what both clusters have in common')],
  ['ZDM_BLOCKED_PROTOCOL_VERSIONS', ignored('only versions that both clusters have are offered')],
  ['ZDM_TRACING_ENABLED', ignored('requests are not traced by the proxy; tracing that a client asks for is passed on')],
  ['ZDM_TRACING_RATE_LIMIT', ignored('requests are not traced by the proxy')],
  ['ZDM_TRACING_REQUEST_ID_KEY', ignored('requests are not traced by the proxy; custom payloads are passed on')],
  ['ZDM_HEARTBEAT_INTERVAL_MS', ignored(HEARTBEAT)],
  ['ZDM_HEARTBEAT_RETRY_INTERVAL_MIN_MS', ignored(HEARTBEAT)],
  ['ZDM_HEARTBEAT_RETRY_INTERVAL_MAX_MS', ignored(HEARTBEAT)],
  ['ZDM_HEARTBEAT_RETRY_BACKOFF_FACTOR', ignored(HEARTBEAT)],
  ['ZDM_HEARTBEAT_FAILURE_THRESHOLD', ignored(HEARTBEAT)],
  ['ZDM_REQUEST_WRITE_QUEUE_SIZE_FRAMES', ignored(BUFFERS)],
  ['ZDM_REQUEST_WRITE_BUFFER_SIZE_BYTES', ignored(BUFFERS)],
  ['ZDM_REQUEST_READ_BUFFER_SIZE_BYTES', ignored(BUFFERS)],
  ['ZDM_RESPONSE_WRITE_QUEUE_SIZE_FRAMES', ignored(BUFFERS)],
  ['ZDM_RESPONSE_WRITE_BUFFER_SIZE_BYTES', ignored(BUFFERS)],
  ['ZDM_RESPONSE_READ_BUFFER_SIZE_BYTES', ignored(BUFFERS)],
  ['ZDM_EVENT_QUEUE_SIZE_FRAMES', ignored(BUFFERS)],
  ['ZDM_ASYNC_CONNECTOR_WRITE_QUEUE_SIZE_FRAMES', ignored(BUFFERS)],
  ['ZDM_ASYNC_CONNECTOR_WRITE_BUFFER_SIZE_BYTES', ignored(BUFFERS)],
  ['ZDM_REQUEST_RESPONSE_MAX_WORKERS', ignored(WORKERS)],
  ['ZDM_WRITE_MAX_WORKERS', ignored(WORKERS)],
  ['ZDM_READ_MAX_WORKERS', ignored(WORKERS)],
  ['ZDM_LISTENER_MAX_WORKERS', ignored(WORKERS)],
]);
