import { afterEach, expect, test } from 'vitest';
import { decodeError } from '#core/cql/error-message.ts';
import { bodyOf, opcodeOf } from '#core/cql/frame.ts';
import { decodeAuthToken, encodeAuthToken, encodeStartup } from '#core/cql/handshake-messages.ts';
import { errorCodeName, Opcode } from '#core/cql/protocol.ts';
import { Flusher } from '../../../proxy-container/src/transport/frame-writer.ts';
import { encodePlainQuery, openSession } from '../../../proxy-container/src/upstream/handshake.ts';
import { UpstreamConnection } from '../../../proxy-container/src/upstream/upstream-connection.ts';
import { eventually } from '../../support/eventually.ts';
import { forcePhaseOver } from '../../support/force-phase.ts';
import { startTestProxy, type TestProxy, type TestProxyOptions } from '../../support/in-process-proxy.ts';
import { MockCluster } from '../../support/mock-cluster.ts';
import { PasswordLogin, ThreeStepLogin } from '../../support/mock-login.ts';

const STARTUP = new Map([['CQL_VERSION', '3.0.0']]);
const TOOL = { username: 'tool', password: 'of the proxy' };
const WRITE = "INSERT INTO ks.t (id, v) VALUES (1, 'x')";

let world: TestProxy;
const clients: UpstreamConnection[] = [];

afterEach(async () => {
  for (const client of clients.splice(0)) client.close();
  await world?.stop();
});

interface Logins {
  readonly origin?: PasswordLogin | ThreeStepLogin;
  readonly target?: PasswordLogin | ThreeStepLogin;
}

/** The proxy's own login is `tool` on each cluster that asks for one. */
async function start({ origin, target }: Logins, proxy: object, more: TestProxyOptions = {}): Promise<void> {
  const clusters = { origin: new MockCluster(), target: new MockCluster() };
  clusters.origin.login = origin;
  clusters.target.login = target;
  world = await startTestProxy(proxy, {
    clusters,
    originConfig: origin ? { auth: TOOL } : {},
    targetConfig: target ? { auth: TOOL } : {},
    ...more,
  });
}

function users(passwords: Record<string, string>): PasswordLogin {
  return new PasswordLogin({ ...passwords, [TOOL.username]: TOOL.password });
}

async function open(): Promise<UpstreamConnection> {
  const address = { host: '127.0.0.1', port: world.port, connectTimeoutMs: 20_000 };
  const client = await UpstreamConnection.open(address, 4, new Flusher());
  clients.push(client);
  return client;
}

async function connect(username?: string, password = ''): Promise<UpstreamConnection> {
  const client = await open();
  const credentials = username === undefined ? undefined : { username, password };
  await openSession(client, { version: 4, startup: STARTUP, credentials, keyspace: undefined }, 20_000);
  return client;
}

/** `ok`, or the name of the error and what it says. */
async function send(client: UpstreamConnection, text: string): Promise<string> {
  const reply = await client.request(Opcode.QUERY, 0, encodePlainQuery(text, 4), 20_000);
  if (opcodeOf(reply) !== Opcode.ERROR) return 'ok';
  const { code, message } = decodeError(bodyOf(reply), 4);
  return `${errorCodeName(code)} ${message}`;
}

const written = (cluster: MockCluster): string[] => cluster.texts(Opcode.QUERY);

test('a client is on both clusters what it says, and a wrong password is refused', async () => {
  const [origin, target] = [users({ ann: 'a' }), users({ ann: 'a' })];
  await start({ origin, target }, { initialPhase: 'dual-async' });
  await expect(connect('ann', 'b')).rejects.toThrow(/incorrect/);
  expect(await send(await connect('ann', 'a'), WRITE)).toBe('ok');
  await eventually(() => expect(written(world.target)).toEqual([WRITE]));
  expect(target.accepted).toContain('ann');
});

test('a password that was revoked is refused at the next login, while older connections go on', async () => {
  const origin = users({ ann: 'a' });
  await start({ origin }, {});
  const older = await connect('ann', 'a');
  origin.passwords.set('ann', 'new');
  await expect(connect('ann', 'a')).rejects.toThrow(/incorrect/);
  expect(await send(older, WRITE)).toBe('ok');
});

test.each(['dual-async', 'dual-sync'])(
  'in %s a write that the primary refuses never reaches the shadow',
  async (phase) => {
    const [origin, target] = [users({ ann: 'a' }), users({ ann: 'a' })];
    origin.forbidden.set('ann', /INTO ks\.t /);
    await start({ origin, target }, { initialPhase: phase });
    const client = await connect('ann', 'a');
    for (let round = 0; round < 3; round++) expect(await send(client, WRITE)).toMatch(/^UNAUTHORIZED/);
    expect(await send(client, 'INSERT INTO ks.free (id) VALUES (1)')).toBe('ok');
    await eventually(() => expect(written(world.target)).toEqual(['INSERT INTO ks.free (id) VALUES (1)']));
  },
);

test('in dual-sync a right that is taken away holds for the shadow too, from the first refusal on', async () => {
  const [origin, target] = [users({ ann: 'a' }), users({ ann: 'a' })];
  await start({ origin, target }, { initialPhase: 'dual-sync' });
  const client = await connect('ann', 'a');
  for (let round = 0; round < 3; round++) expect(await send(client, WRITE)).toBe('ok');
  origin.forbidden.set('ann', /INTO ks\.t /);
  // This one leaves while the last verdict is believed: the race that is documented.
  expect(await send(client, WRITE)).toMatch(/^UNAUTHORIZED/);
  const before = written(world.target).length;
  for (let round = 0; round < 3; round++) expect(await send(client, WRITE)).toMatch(/^UNAUTHORIZED/);
  expect(written(world.target)).toHaveLength(before);
});

test('what a client may not write on the shadow is marked and not queued, whether its rights or its login are missing', async () => {
  const [origin, target] = [users({ ann: 'a', bob: 'b' }), users({ ann: 'a' })];
  target.forbidden.set('ann', /INTO ks\.t /);
  await start({ origin, target }, { initialPhase: 'dual-async', shadowTimeoutMs: 1000 });
  const [ann, bob] = [await connect('ann', 'a'), await connect('bob', 'b')];
  const lwt = `${WRITE} IF NOT EXISTS`;
  for (const [index, client] of [ann, bob].entries()) {
    for (let round = 1; round <= 4; round++) {
      expect(await send(client, round === 4 ? lwt : WRITE)).toBe('ok');
      const shadowFailed = index * 4 + round;
      await eventually(() => expect(world.proxy.status().counters).toMatchObject({ shadowFailed, shadowInFlight: 0 }));
    }
  }
  expect(world.proxy.status().counters['journaled']).toBe(0);
  expect(world.queue.messages).toEqual([]);
});

test("with the proxy's own login for copies a client still does no more than the primary lets it", async () => {
  const [origin, target] = [users({ ann: 'a' }), users({})];
  origin.forbidden.set('ann', /INTO ks\.secret /);
  await start({ origin, target }, { initialPhase: 'dual-sync', logins: { shadow: 'own' } });
  const client = await connect('ann', 'a');
  expect(await send(client, 'INSERT INTO ks.secret (id) VALUES (1)')).toMatch(/^UNAUTHORIZED/);
  expect(await send(client, WRITE)).toBe('ok');
  expect(written(world.target)).toEqual([WRITE]);
});

test('a user that the target does not know: dual-async does not hurt it and the table is suspect', async () => {
  await start({ origin: users({ ann: 'a' }), target: users({}) }, { initialPhase: 'dual-async' });
  const client = await connect('ann', 'a');
  expect(await send(client, WRITE)).toBe('ok');
  await eventually(async () =>
    expect(await world.ledger.listSuspects()).toMatchObject([{ keyspace: 'ks', table: 't' }]),
  );
  expect(world.queue.messages).toEqual([]);
});

test('a user that the target does not know is told so in dual-sync', async () => {
  await start({ origin: users({ ann: 'a' }), target: users({}) }, { initialPhase: 'dual-sync' });
  expect(await send(await connect('ann', 'a'), WRITE)).toMatch(/^UNAUTHORIZED The target: .*incorrect/);
});

test('a mapped login is used on the side that is mapped, and the other side checks the client', async () => {
  const [origin, target] = [users({ ann: 'a' }), users({ ann2: 'b' })];
  const mapping = { ann: { target: { username: 'ann2', password: 'b' } } };
  await start({ origin, target }, { initialPhase: 'target-primary', logins: { mapping } });
  await expect(connect('ann', 'wrong')).rejects.toThrow(/incorrect/);
  expect(await send(await connect('ann', 'a'), WRITE)).toBe('ok');
  expect(target.accepted.at(-1)).toBe('ann2');
  await eventually(() => expect(written(world.origin)).toEqual([WRITE]));
});

test('where both sides are mapped the client gives one of the two logins, and no other', async () => {
  const [origin, target] = [users({ old: 'o' }), users({ new: 'n' })];
  const both = { origin: { username: 'old', password: 'o' }, target: { username: 'new', password: 'n' } };
  await start({ origin, target }, { initialPhase: 'target-only', logins: { mapping: { old: both } } });
  await expect(connect('old', 'guessed')).rejects.toThrow(/incorrect/);
  expect(await send(await connect('old', 'o'), WRITE)).toBe('ok');
  expect(target.accepted.at(-1)).toBe('new');
  // In target-only nothing depends on the origin, which was never asked for this client.
  expect(origin.accepted).not.toContain('old');
});

test('a mapped login that its cluster refuses is told by the name of its setting, never with its password', async () => {
  const mapping = { ann: { origin: { username: 'other', password: 'hidden' } } };
  await start({ origin: users({}), target: users({ ann: 'a' }) }, { logins: { mapping } });
  const refused = await connect('ann', 'a').catch((error: Error) => error.message);
  expect(refused).toMatch(/proxy\.logins\.mapping\.ann\.origin; correct it/);
  expect(refused).not.toContain('hidden');
});

test('where only the shadow asks for a login, clients need none and copies are made with the login of the proxy', async () => {
  const target = users({});
  await start({ target }, { initialPhase: 'dual-sync' });
  expect(await send(await connect(), WRITE)).toBe('ok');
  expect(written(world.target)).toEqual([WRITE]);
});

test('after a flip a client without a login of the new primary is told so and disconnected', async () => {
  await start({ target: users({ ann: 'a' }) }, { initialPhase: 'dual-sync' });
  const client = await connect();
  expect(await send(client, WRITE)).toBe('ok');
  await flipToTarget();
  expect(await send(client, WRITE)).toMatch(/^UNAUTHORIZED The target: .*let it connect again and log in/);
  await eventually(() => expect(client.isClosed).toBe(true));
  await expect(connect()).rejects.toThrow(/demands a login/);
  expect(await send(await connect('ann', 'a'), WRITE)).toBe('ok');
});

test('clients that log in nowhere may be given a login for the cluster that demands one', async () => {
  const target = users({ app: 'p' });
  const anonymous = { target: { username: 'app', password: 'p' } };
  await start({ target }, { initialPhase: 'dual-sync', logins: { anonymous } });
  const client = await connect();
  expect(await send(client, WRITE)).toBe('ok');
  await flipToTarget();
  expect(await send(client, WRITE)).toBe('ok');
  expect(await send(await connect(), WRITE)).toBe('ok');
  expect(target.accepted).toContain('app');
});

async function threeSteps(client: UpstreamConnection): Promise<string[]> {
  const heard: string[] = [];
  let reply = await client.startup(encodeStartup(STARTUP), 20_000);
  for (let step = 1; step <= 3 && opcodeOf(reply) !== Opcode.ERROR; step++) {
    reply = await client.request(Opcode.AUTH_RESPONSE, 0, encodeAuthToken(Buffer.from(`step ${step}`)), 20_000);
    if (opcodeOf(reply) === Opcode.ERROR) heard.push(decodeError(bodyOf(reply), 4).message);
    else heard.push(decodeAuthToken(bodyOf(reply))?.toString() ?? '');
  }
  return heard;
}

/** A target with a mechanism of its own that the proxy can't speak, so nothing of it can be asked before a client comes. */
async function startWithThreeSteps(proxy: object, target?: PasswordLogin): Promise<ThreeStepLogin> {
  const login = new ThreeStepLogin();
  await start({ ...(target ? { target } : {}) }, proxy);
  world.origin.login = login;
  return login;
}

test('a login of several steps is relayed, and its connection stays that of its client', async () => {
  const login = await startWithThreeSteps({});
  const [first, second] = [await open(), await open()];
  expect(await threeSteps(first)).toEqual(['challenge 1', 'challenge 2', 'welcome']);
  expect(await threeSteps(second)).toEqual(['challenge 1', 'challenge 2', 'welcome']);
  expect(login.connectionCount).toBe(2);
  expect(await send(first, 'USE ks')).toBe('ok');
  expect(await send(first, WRITE)).toBe('ok');
  expect(await send(second, WRITE)).toBe('ok');
});

test('when the connection of such a login is lost its client is disconnected, because nobody can log in for it', async () => {
  await startWithThreeSteps({});
  const client = await open();
  await threeSteps(client);
  world.origin.disconnect();
  await eventually(() => expect(client.isClosed).toBe(true));
});

test('a login that can not be repeated on the shadow is refused by name, with the remedy', async () => {
  await startWithThreeSteps({ initialPhase: 'dual-async' }, users({}));
  const heard = await threeSteps(await open());
  expect(heard.at(-1)).toMatch(/com\.example\.ThreeStepAuthenticator .* target: set proxy\.logins\.shadow to own/);
});

test("with the proxy's own login for copies it is taken", async () => {
  await startWithThreeSteps({ initialPhase: 'dual-sync', logins: { shadow: 'own' } }, users({}));
  const client = await open();
  expect((await threeSteps(client)).at(-1)).toBe('welcome');
  expect(await send(client, WRITE)).toBe('ok');
  expect(written(world.target)).toEqual([WRITE]);
});

async function flipToTarget(): Promise<void> {
  await forcePhaseOver(world.adminUrl, 'token-of-the-unit-tests', 'target-primary');
}

/** A client of a login that can't be repeated, whose cluster is the shadow after a flip. */
async function dedicatedBehindFlip(): Promise<UpstreamConnection> {
  await startWithThreeSteps({ initialPhase: 'dual-sync' });
  const client = await open();
  await threeSteps(client);
  expect(await send(client, 'USE first')).toBe('ok');
  await flipToTarget();
  return client;
}

const UNQUALIFIED = "INSERT INTO t (id, v) VALUES (1, 'x')";
const keyspacesOf = (cluster: MockCluster) =>
  cluster.seen.filter(({ text }) => text === UNQUALIFIED).map(({ keyspace }) => keyspace);

test('a connection of such a login to the shadow goes with its client into another keyspace', async () => {
  const client = await dedicatedBehindFlip();
  expect(await send(client, UNQUALIFIED)).toBe('ok');
  expect(await send(client, 'USE second')).toBe('ok');
  expect(await send(client, UNQUALIFIED)).toBe('ok');
  await eventually(() => expect(keyspacesOf(world.origin)).toEqual(['first', 'second']));
  expect(keyspacesOf(world.target)).toEqual(['first', 'second']);
});

test('where the shadow refuses that keyspace, copies do not end up in the one before', async () => {
  const client = await dedicatedBehindFlip();
  world.origin.refusesKeyspace = (name) => name === 'second';
  expect(await send(client, 'USE second')).toBe('ok');
  await send(client, UNQUALIFIED);
  await eventually(() => expect(world.proxy.status().failedWrites.suspectMarks + world.queue.messages.length).toBe(1));
  expect([keyspacesOf(world.target), keyspacesOf(world.origin)]).toEqual([['second'], []]);
});

test('where such a connection is after a USE without an answer nobody knows, so its client has to connect again', async () => {
  const short = { requestTimeoutMs: 2000 };
  await start({}, {}, { originConfig: short, targetConfig: short });
  world.origin.login = new ThreeStepLogin();
  const client = await open();
  await threeSteps(client);
  expect(await send(client, 'USE first')).toBe('ok');
  // It goes there, and does not say so.
  world.origin.kept = [];
  expect(await send(client, 'USE second')).not.toBe('ok');
  world.origin.kept = undefined;
  await eventually(() => expect(client.isClosed).toBe(true));
});
