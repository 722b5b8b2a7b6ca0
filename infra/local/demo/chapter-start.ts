import { z } from 'zod';
import { nodetool } from '../cassandra-tools.ts';
import { appGrants, appLogin, connectTo, runAsAdministrator } from '../cluster-roles.ts';
import { startEnvironment } from '../environment.ts';
import { awsEndpoint, awsEnvironment } from '../local-aws.ts';
import { deployMigration } from '../local-migration.ts';
import { ringshift } from './product.ts';
import { firstRound, secondRound, thirdRound, write } from './seed.ts';
import { part, type Story, thousands } from './story.ts';
import { keyspaces, schemaStatements } from './tables.ts';

/** Two real clusters and the local AWS, empty. */
export async function startEverything(story: Story): Promise<void> {
  const { environment, java, narrator, signal } = story;
  await startEnvironment(environment, { java, keepData: false, report: (line) => narrator.say(line), signal });
}

/** The AWS half, as `cdk deploy` brings it to AWS. */
export async function deploy(story: Story): Promise<void> {
  const { environment, narrator, signal } = story;
  const state = await deployMigration(environment, signal);
  story.parts.product = {
    configFile: state.configFile,
    env: awsEnvironment(environment.aws),
    signal,
    say: (line) => narrator.say(line),
  };
  narrator.say(
    `${Object.keys(state.outputs).length} stacks at ${awsEndpoint(environment.aws)}; bucket ${state.bucket}`,
  );
}

/** Schemas and rows of the application, on the origin alone. */
export async function seedOrigin(story: Story): Promise<void> {
  const { environment, java, narrator, signal } = story;
  await runAsAdministrator(environment.origin, [...schemaStatements, ...appGrants(keyspaces)]);
  const client = connectTo(environment.origin, appLogin);
  let written = 0;
  try {
    await client.connect();
    const rounds = [
      ['everything once', firstRound],
      ['overwrites, expiring values, deletions of every kind', secondRound],
      ['changes on top of those', thirdRound],
    ] as const;
    for (const [what, round] of rounds) {
      const started = Date.now();
      const count = await write(client, round(), signal);
      written += count;
      await Promise.all(keyspaces.map((keyspace) => nodetool(java, environment.origin, 'flush', keyspace)));
      const seconds = ((Date.now() - started) / 1000).toFixed(1);
      narrator.say(`${what}: ${thousands(count)} statements, flushed to SSTables of their own (${seconds} s)`);
    }
  } finally {
    await client.shutdown();
  }
  story.facts.push(['statements that made the data of the origin', thousands(written)]);
}

const copied = z.object({ elements: z.array(z.object({ type: z.string(), name: z.string() })) });

/** `ringshift schema copy`; then the application's role may use its keyspaces there as well. */
export async function copySchema(story: Story): Promise<void> {
  const { json } = await ringshift(part(story, 'product'), ['schema', 'copy', ...keyspaces], copied);
  await runAsAdministrator(story.environment.target, appGrants(keyspaces));
  story.narrator.say(`created on the target: ${json.elements.map(({ type, name }) => `${type} ${name}`).join(', ')}`);
}
