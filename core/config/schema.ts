/**
 * The shape of `config/migration.yaml`. Unknown keys are errors; everything but the contact points has a default.
 * Strings may hold `${ENV}`; secrets may also be references (`file:PATH`, `secretsmanager:NAME`).
 */
import { z } from 'zod';
import { parseHostPort } from '../model/host-port.ts';
import { faultsOf } from '../model/rename.ts';
import { type Credentials, listenTlsSchema, loginsSchema } from './access-schema.ts';
import { clusterSchema, consistencySchema as consistency } from './cluster-schema.ts';
import { failedWritesSchema } from './failed-writes-schema.ts';
import { gatesSchema } from './gates-schema.ts';
import { ledgerSchema } from './ledger-schema.ts';

const port = z.int().min(1).max(65535);
/** Of the proxy's own servers. */
const listenPort = z.int().min(0).max(65535).describe('0: any free port; the log names it');
const milliseconds = z.int().min(0).max(86_400_000);

/** The phases, in the order of a migration. */
export const phases = ['origin-only', 'dual-async', 'dual-sync', 'target-primary', 'target-only'] as const;
export type Phase = (typeof phases)[number];

/** How drivers see the proxies: as the nodes of one cluster. */
const topology = z
  .strictObject({
    sisters: z
      .array(z.string().min(1))
      .max(256)
      .default([])
      .describe(
        'IP addresses of all instances, each as ADDRESS, IPV4:PORT or [IPV6]:PORT; none: each shows itself alone',
      ),
    service: z
      .string()
      .min(1)
      .max(253)
      .nullable()
      .default(null)
      .describe('Name whose DNS addresses are the instances, such as that of a headless service; instead of sisters'),
    refreshSecs: z.int().min(1).max(3600).default(10).describe('How often the name of the service is resolved'),
    port: port.nullable().default(null).describe('Of instances given without one; null: where this one listens'),
    address: z
      .string()
      .nullable()
      .default(null)
      .describe('Which of the instances this one is, where none of their addresses is of this machine (NAT)'),
    clusterName: z.string().min(1).nullable().default(null).describe("Shown to drivers; null: the origin's"),
    datacenter: z.string().min(1).nullable().default(null).describe("Shown to drivers; null: the origin's"),
    rack: z.string().min(1).nullable().default(null).describe("Shown to drivers; null: the origin's"),
    releaseVersion: z.string().min(1).nullable().default(null).describe("Shown to drivers; null: the origin's"),
  })
  .superRefine((value, context) => {
    if (value.service !== null && value.sisters.length > 0) {
      context.addIssue({ code: 'custom', path: ['service'], message: 'give either sisters or a service, not both' });
    }
    for (const [index, text] of value.sisters.entries()) {
      if (parseHostPort(text) !== undefined) continue;
      const message = `'${text}' is no IP address; write ADDRESS, IPV4:PORT or [IPV6]:PORT, and names as service`;
      context.addIssue({ code: 'custom', path: ['sisters', index], message });
    }
    if (value.address !== null && parseHostPort(value.address) === undefined) {
      context.addIssue({ code: 'custom', path: ['address'], message: `'${value.address}' is no IP address` });
    }
  })
  .prefault({});

const proxy = z
  .strictObject({
    listen: z
      .strictObject({
        host: z.string().default('0.0.0.0'),
        port: listenPort.default(9042),
        tls: listenTlsSchema.nullable().default(null).describe('null: clients come without TLS'),
      })
      .prefault({}),
    logins: loginsSchema,
    admin: z
      .strictObject({
        host: z.string().default('127.0.0.1'),
        port: listenPort.default(8080),
        token: z.string().min(16).nullable().default(null).describe('Needed for writes; null closes them'),
        zdmMetricsPrefix: z
          .string()
          .regex(/^[A-Za-z_]\w{0,30}$/, 'must be the beginning of the name of a metric, such as zdm')
          .nullable()
          .default(null)
          .describe("Shows the metrics by zdm-proxy's names as well, with this prefix (its own is zdm)"),
      })
      .prefault({}),
    instance: z.string().min(1).nullable().default(null).describe('Name in the ledger; default: the host name'),
    initialPhase: z.enum(phases).default('origin-only'),
    dualSync: z.enum(['strict', 'lenient']).default('strict'),
    shadowTimeoutMs: milliseconds.default(5000),
    ddl: z.enum(['both', 'primary', 'refuse']).default('both'),
    targetReplication: z
      .string()
      .regex(/^\s*\{[^{}]*\}\s*$/, "must be a CQL map such as {'class': 'NetworkTopologyStrategy', 'dc1': 3}")
      .nullable()
      .default(null)
      .describe('Of keyspaces that clients create or alter, on the target; null: as the statement says'),
    topology,
    onLedgerLoss: z.enum(['keep', 'stop']).default('keep'),
    lease: z
      .strictObject({
        pollMs: z.int().min(50).max(5000).default(1000).describe('How often a proxy looks for a change of phase'),
        heartbeatSecs: z
          .int()
          .min(1)
          .max(300)
          .default(5)
          .describe('How often it renews its lease, which lasts for three of them'),
      })
      .prefault({}),
    targetConsistency: z.partialRecord(consistency, consistency).default({}),
    clocks: z.strictObject({ warnSkewMs: milliseconds.default(50), maxSkewMs: milliseconds.default(500) }).prefault({}),
    reads: z
      .strictObject({
        mode: z
          .enum(['primary', 'dualAsync'])
          .default('primary')
          .describe('dualAsync: every read goes to the other cluster too, unawaited, and the answers are compared'),
        samplePercent: z
          .number()
          .min(0)
          .max(100)
          .default(1)
          .describe('Of the reads in dual-sync and target-primary: compared with the other cluster; 0: none'),
      })
      .prefault({}),
    filterRules: z.string().nullable().default(null).describe('Path of filter-rules.yaml, relative to this file'),
    processes: z
      .union([z.int().min(0).max(64), z.literal('auto')])
      .default(1)
      .describe('Processes of this proxy on this host, each an instance of its own; 0 or auto: one for each core'),
    maxClients: z.int().min(1).max(100_000).default(5000).describe('Of each process'),
  })
  .prefault({});

const bulkLoad = z
  .strictObject({
    targetWriteMBps: z.number().positive().max(100_000).default(40),
    tombstones: z.enum(['none', 'recent', 'all']).default('recent'),
    indexes: z
      .enum(['rebuild', 'skip'])
      .default('rebuild')
      .describe('rebuild: drop secondary indexes of the loaded tables before the load, build them again after it'),
    indexList: z
      .string()
      .nullable()
      .default(null)
      .describe('Path of indexes.yaml, relative to this file: which are rebuilt; null: all of the loaded tables'),
    indexBuilds: z.int().min(1).max(64).default(2).describe('Indexes built at a time'),
    indexBuildTimeoutMinutes: z.int().min(1).max(43_200).default(1440),
    consistency: consistency.default('LOCAL_QUORUM'),
    memoryBudgetMB: z
      .int()
      .min(64)
      .max(10_240)
      .default(512)
      .describe('Of a process that loads, the runtime included: a sixth is for read windows'),
    rangeMB: z.int().min(1).max(65_536).default(1024).describe('SSTable bytes of one range'),
    maxConcurrency: z.int().min(1).max(1000).default(8),
  })
  .prefault({});

const keyspaceName = z.string().regex(/^\w{1,48}$/, 'must be the name of a keyspace');
const tableName = z.string().regex(/^\w{1,48}\.\w{1,222}$/, 'must be KEYSPACE.TABLE');

const renames = z
  .strictObject({
    keyspaces: z.record(keyspaceName, keyspaceName).default({}).describe('origin -> target'),
    tables: z.record(tableName, tableName).default({}).describe('KEYSPACE.TABLE -> KEYSPACE.TABLE; before keyspaces'),
  })
  .superRefine((rules, context) => {
    for (const { path, message } of faultsOf(rules)) {
      const dot = path.indexOf('.');
      context.addIssue({ code: 'custom', path: [path.slice(0, dot), path.slice(dot + 1)], message });
    }
  })
  .prefault({})
  .describe('Names on the origin -> names on the target; load and schema follow them, the proxy refuses them');

const validation = z
  .strictObject({
    originReadMBps: z.number().positive().max(100_000).default(20),
    quietHours: z
      .null('not built yet: leave it null, and stop or start validations by schedule')
      .default(null)
      .describe('Not built yet: only null'),
    samplePercent: z.number().gt(0).max(100).default(100),
    compareWriteTime: z.boolean().default(true),
    settleMs: milliseconds.default(10_000),
    rangesPerTable: z.int().min(1).max(100_000).default(64),
    maxConcurrency: z.int().min(1).max(1000).default(8),
    schedule: z
      .strictObject({
        enabled: z.boolean().default(false),
        rate: z.string().default('rate(1 day)'),
        keyspaces: z.array(z.string()).default([]),
      })
      .prefault({}),
  })
  .prefault({});

const deploy = z
  .strictObject({
    aws: z
      .strictObject({
        vpcId: z.string().nullable().default(null),
        subnetIds: z.array(z.string()).default([]),
        securityGroupIds: z.array(z.string()).default([]),
        clusterCidrs: z.array(z.string()).default([]),
        alarmTopicArn: z.string().nullable().default(null),
        proxyIdentity: z
          .strictObject({
            subject: z
              .string()
              .regex(/^\d{6,40}$/, 'the unique id of the Google service account: digits, not its e-mail address')
              .describe("Unique id (digits) of the proxy's Google service account"),
            audience: z.string().min(1).max(255).describe('What its identity tokens are made out to'),
          })
          .nullable()
          .default(null)
          .describe('Gives a proxy on GCP a role of its own, without keys'),
      })
      .prefault({}),
  })
  .prefault({});

/** The whole file. */
export const migrationConfigSchema = z.strictObject({
  origin: clusterSchema,
  target: clusterSchema,
  ledger: ledgerSchema,
  proxy,
  failedWrites: failedWritesSchema,
  gates: gatesSchema,
  bulkLoad,
  validation,
  renames,
  deploy,
});

export type MigrationConfig = z.output<typeof migrationConfigSchema>;
export type ClusterConfig = z.output<typeof clusterSchema>;
export type { LedgerConfig } from './ledger-schema.ts';
export type ProxyConfig = z.output<typeof proxy>;

/** A cluster whose secret references have been resolved: `credentials` is what a session sends. */
export interface ResolvedCluster extends Omit<ClusterConfig, 'auth'> {
  /** `origin` or `target`: for messages. */
  readonly name: string;
  readonly credentials: Credentials | null;
}
