/** What the checks share: clients, the report (one line of JSON for each check) and requests to the test that started us. */
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { auth, Client, type ClientOptions, errors, type types } from 'cassandra-driver';

const [host = '', port = '', username = '', password = '', keyspace = '', side = ''] = process.argv.slice(2);

export const place = { host, port: Number(port) } as const;
export { keyspace };

const answers = createInterface({ input: process.stdin })[Symbol.asyncIterator]();

/** The driver with its defaults; only its time-outs are made for a machine that has other work. */
export async function openClient(options: Partial<ClientOptions> = {}): Promise<Client> {
  const client = new Client({
    contactPoints: [host],
    protocolOptions: { port: place.port },
    localDataCenter: 'dc1',
    authProvider: new auth.PlainTextAuthProvider(username, password),
    keyspace,
    socketOptions: { connectTimeout: 60_000, readTimeout: 60_000 },
    ...options,
  });
  try {
    await client.connect();
    return client;
  } catch (error) {
    await client.shutdown().catch(() => undefined);
    throw error;
  }
}

/** A client for as long as `use` takes. */
export async function withClient<T>(options: Partial<ClientOptions>, use: (client: Client) => Promise<T>): Promise<T> {
  const client = await openClient(options);
  try {
    return await use(client);
  } finally {
    await client.shutdown();
  }
}

/** A check whose result is the same with and without a proxy. */
export async function check(name: string, run: () => Promise<unknown>): Promise<void> {
  try {
    print({ name, ok: true, detail: await run() });
  } catch (error) {
    print({ name, ok: false, detail: error instanceof Error ? `${error.stack}` : String(error) });
  }
}

/** A check that makes sense through the proxy only. */
export async function checkProxy(name: string, run: () => Promise<unknown>): Promise<void> {
  if (side === 'proxy') await check(name, run);
}

/** Has the test do something outside, and waits until it is done. */
export async function ask(what: string): Promise<void> {
  print({ ask: what });
  const answer = await answers.next();
  if (answer.value !== 'done') throw new Error(`${what}: ${answer.value}`);
}

function print(message: object): void {
  const asText = (_: string, value: unknown): unknown => (typeof value === 'bigint' ? String(value) : value);
  process.stdout.write(`${JSON.stringify(message, asText)}\n`);
}

export async function eventually(what: string, holds: () => Promise<boolean>): Promise<void> {
  const deadline = Date.now() + 30_000;
  while (!(await holds())) {
    if (Date.now() > deadline) throw new Error(`${what}: not within 30 s`);
    await sleep(50);
  }
}

export function same(actual: unknown, expected: unknown): void {
  const [one, other] = [JSON.stringify(actual), JSON.stringify(expected)];
  if (one !== other) throw new Error(`${one} is not ${other}`);
}

/** The rows as texts, values as the driver's types print themselves. */
export async function rowsOf(client: Client, query: string, params?: unknown[] | object): Promise<string[]> {
  const result = await client.execute(query, params as never, { prepare: params !== undefined });
  return textsOf(result);
}

export function textsOf(result: types.ResultSet): string[] {
  return (result.rows ?? []).map((row) => JSON.stringify(row.values()));
}

export function columnsOf(result: types.ResultSet): unknown {
  return (result.columns ?? []).map(({ name, type }) => [name, type.code]);
}

/** What the only node said, where the driver speaks of all nodes. */
export function causeOf(error: unknown): Error {
  if (!(error instanceof errors.NoHostAvailableError)) return error as Error;
  return Object.values(error.innerErrors as Record<string, Error>)[0] ?? error;
}

/** What a failed request says: the driver's class, the server's code and words. */
export async function failureOf(run: () => Promise<unknown>): Promise<string> {
  try {
    await run();
    return 'done';
  } catch (error) {
    const { name, code, message } = causeOf(error) as Error & { code?: number };
    return `${name} ${code ?? '-'}: ${message}`;
  }
}
