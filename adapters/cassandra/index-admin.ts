/** Secondary indexes of the target, through the control plane's driver. */

import { setTimeout as delay } from 'node:timers/promises';
import cassandra from 'cassandra-driver';
import { ClusterUnreachableError, describeError, ServerError } from '#core/errors.ts';
import type { IndexAdmin } from '#core/jobs/drop-indexes.ts';
import type { IndexDefinition } from '#core/model/index-definition.ts';
import type { DriverClient } from './driver-client.ts';

const INDEXES = 'SELECT * FROM system_schema.indexes WHERE keyspace_name = ?';
const AGREEMENT_TIMEOUT_MS = 60_000;
const CHANGE_TIMEOUT_MS = 60_000;
/** What a node may say differently later, unchanged: overloaded, bootstrapping, unavailable, time-outs. */
const RETRYABLE_CODES: ReadonlySet<number> = new Set([0x0000, 0x1000, 0x1001, 0x1002, 0x1003, 0x1100, 0x1200]);

/** The driver's own check, which its type declarations leave out. It does not count nodes that are down. */
interface AgreementCheck {
  checkSchemaAgreement(): Promise<boolean>;
}

/**
 * A node is asked about its own builds only, so every node of the data centre is asked; to others the driver keeps no
 * connection.
 */
export function createIndexAdmin(client: DriverClient, localDatacenter: string): IndexAdmin {
  const metadata = client.metadata as unknown as AgreementCheck;
  const run = async (text: string, values: readonly string[] = [], options: cassandra.QueryOptions = {}) => {
    try {
      return await client.execute(text, [...values], { isIdempotent: true, ...options });
    } catch (error) {
      throw toOurs(error);
    }
  };

  return {
    list: (keyspace) => run(INDEXES, [keyspace]).then(({ rows }) => rows.map((row) => toDefinition(keyspace, row))),

    async change(statement) {
      // Sent to another host after a time-out, it could take effect long after whoever waits for it has given up.
      await run(statement, [], { prepare: false, readTimeout: CHANGE_TIMEOUT_MS, isIdempotent: false });
      const deadline = Date.now() + AGREEMENT_TIMEOUT_MS;
      while (!(await metadata.checkSchemaAgreement())) {
        if (Date.now() > deadline) {
          throw new ClusterUnreachableError(
            `the nodes of the target do not agree on the schema after ${AGREEMENT_TIMEOUT_MS / 1000} s: ${statement}`,
          );
        }
        await delay(250);
      }
    },

    async built(keyspace) {
      const hosts = client.hosts.values().filter(({ datacenter }) => datacenter === localDatacenter);
      const answers = await Promise.all(
        hosts.map(async (host) => {
          const text = 'SELECT index_name FROM system."IndexInfo" WHERE table_name = ?';
          try {
            const { rows } = await run(text, [keyspace], { host });
            return new Set(rows.map((row) => String(row['index_name'])));
          } catch (error) {
            // A node that is down has built nothing that anyone could rely on; it goes on when it is back.
            if (!(error instanceof ClusterUnreachableError)) throw error;
            return new Set<string>();
          }
        }),
      );
      const [first = new Set<string>(), ...others] = answers;
      return new Set([...first].filter((name) => others.every((names) => names.has(name))));
    },
  };
}

/** All secondary indexes of a keyspace. */
export async function readIndexes(client: DriverClient, keyspace: string): Promise<readonly IndexDefinition[]> {
  return (await client.execute(INDEXES, [keyspace])).rows.map((row) => toDefinition(keyspace, row));
}

function toDefinition(keyspace: string, row: cassandra.types.Row): IndexDefinition {
  return {
    keyspace,
    table: String(row['table_name']),
    name: String(row['index_name']),
    kind: String(row['kind']),
    options: { ...(row['options'] as Record<string, string> | null) },
  };
}

function toOurs(error: unknown): Error {
  const inner = Object.values((error as { innerErrors?: Record<string, unknown> }).innerErrors ?? {})[0] ?? error;
  if (inner instanceof cassandra.errors.ResponseError) {
    return new ServerError(inner.message, inner.code, RETRYABLE_CODES.has(inner.code));
  }
  return new ClusterUnreachableError(`the target did not answer: ${describeError(inner)}`, { cause: error });
}
