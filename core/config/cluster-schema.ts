/** `origin:` and `target:` of the configuration. */
import { z } from 'zod';
import { Consistency, type ConsistencyName } from '../model/cql-request.ts';
import { authSchema, tlsSchema } from './access-schema.ts';

const consistencyNames = Object.keys(Consistency) as [ConsistencyName, ...ConsistencyName[]];
/** A consistency level by its name. */
export const consistencySchema = z.enum(consistencyNames);
const port = z.int().min(1).max(65535);
const milliseconds = z.int().min(0).max(86_400_000);

const retry = z
  .strictObject({
    maxAttempts: z.int().min(1).max(20).default(3),
    minDelayMs: milliseconds.default(100),
    maxDelayMs: milliseconds.default(10_000),
    on: z.array(z.enum(['timeout', 'unavailable', 'overloaded'])).default(['timeout', 'unavailable', 'overloaded']),
  })
  .prefault({});

const clusterShape = {
  kind: z.enum(['cassandra', 'scylla', 'astra', 'keyspaces']).default('cassandra'),
  contactPoints: z.array(z.string().min(1)).default([]).describe('Host names or addresses, without ports'),
  port: port.default(9042),
  localDatacenter: z.string().min(1).default('dc1'),
  auth: authSchema.nullable().default(null).describe('null for clusters without authentication'),
  tls: tlsSchema,
  secureConnectBundle: z
    .string()
    .min(1)
    .nullable()
    .default(null)
    .describe('Path of the zip; instead of contactPoints, port and tls'),
  consistency: z
    .strictObject({
      read: consistencySchema.default('LOCAL_QUORUM'),
      write: consistencySchema.default('LOCAL_QUORUM'),
      serial: z.enum(['SERIAL', 'LOCAL_SERIAL']).default('LOCAL_SERIAL'),
    })
    .prefault({}),
  connectionsPerHost: z.int().min(1).max(64).default(4),
  connectTimeoutMs: milliseconds.default(5000),
  requestTimeoutMs: milliseconds.default(10_000),
  maxWaitMs: milliseconds
    .default(1000)
    .describe('How long a request waits for room on the connections of a node, before another node is asked'),
  pageSize: z.int().min(1).max(100_000).default(5000).describe('Rows of one page, where nobody says otherwise'),
  preparedCacheSize: z.int().min(1).max(100_000).default(1000).describe('Prepared statements that a session keeps'),
  routing: z
    .strictObject({
      tokenAware: z.boolean().default(true).describe("false: nodes by turns, not first the owner of a request's key"),
    })
    .prefault({})
    .describe('Of sessions; the proxy spreads requests over all nodes'),
  retry,
  addressMap: z.record(z.string(), z.string()).default({}).describe('advertised address -> reachable address'),
};

/** Where one of the two clusters is, and how it is talked to. */
export const clusterSchema = z.strictObject(clusterShape).superRefine((value, context) => {
  const fault = (path: string, message: string) => context.addIssue({ code: 'custom', path: [path], message });
  if (value.secureConnectBundle === null) {
    if (value.contactPoints.length === 0) fault('contactPoints', 'name at least one node, or a secureConnectBundle');
    return;
  }
  if (value.contactPoints.length > 0)
    fault('contactPoints', 'the secureConnectBundle says where the nodes are; leave it out');
  if (value.tls.enabled) fault('tls', 'the secureConnectBundle brings its certificates; leave it out');
});
