/** Arguments: host, port, user, password, keyspace (another one has the suffix _2), proxy or direct, part. */
import { openClient } from './checks.ts';
import { connectionChecks } from './connection-checks.ts';
import { errorChecks } from './error-checks.ts';
import { functionChecks } from './function-checks.ts';
import { schemaChecks } from './schema-checks.ts';
import { statementChecks, vectorChecks } from './statement-checks.ts';
import { topologyChecks } from './topology-checks.ts';

const parts = {
  all: [topologyChecks, statementChecks, functionChecks, schemaChecks, errorChecks, connectionChecks],
  vector: [vectorChecks],
};
const part = process.argv[8] as keyof typeof parts;
const client = await openClient();
try {
  for (const run of parts[part]) await run(client);
} finally {
  await client.shutdown();
  // A driver that has lost its node once keeps a timer.
  process.exit();
}
