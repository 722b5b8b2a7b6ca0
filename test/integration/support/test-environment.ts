/** Where the integration tests find their clusters: set by global-setup, read by the tests. */
import { administrator } from '../../../infra/local/cluster-roles.ts';
import { testEnvironment } from '../../../infra/local/environment.ts';
import { awsEndpoint } from '../../../infra/local/local-aws.ts';

const names = {
  origin: 'RINGSHIFT_TEST_ORIGIN',
  target: 'RINGSHIFT_TEST_TARGET',
  proxyAddress: 'RINGSHIFT_TEST_PROXY_ADDRESS',
  username: 'RINGSHIFT_TEST_USERNAME',
  password: 'RINGSHIFT_TEST_PASSWORD',
  awsEndpoint: 'RINGSHIFT_TEST_AWS_ENDPOINT',
  toolsSocket: 'RINGSHIFT_TEST_TOOLS',
} as const;

/** Publishes the test environment to the test processes, which inherit it. The log-in may do everything. */
export function provideTestEnvironment(env: NodeJS.ProcessEnv, toolsSocket: string): void {
  const { origin, target } = testEnvironment;
  env[names.origin] = `${origin.address}:${origin.port}`;
  env[names.target] = `${target.address}:${target.port}`;
  env[names.proxyAddress] = testEnvironment.proxyAddress;
  env[names.username] = administrator.username;
  env[names.password] = administrator.password;
  env[names.awsEndpoint] = awsEndpoint(testEnvironment.aws);
  env[names.toolsSocket] = toolsSocket;
}

export interface HostAndPort {
  readonly host: string;
  readonly port: number;
}

/** What a test needs to reach the real parts. */
export interface TestEnvironment {
  readonly origin: HostAndPort;
  readonly target: HostAndPort;
  /** A loopback address on which nothing else listens. */
  readonly proxyAddress: string;
  readonly username: string;
  readonly password: string;
  readonly awsEndpoint: string;
  /** Where Cassandra's tools are served. */
  readonly toolsSocket: string;
}

function required(name: string): string {
  const value = process.env[name];
  if (value === undefined) throw new Error(`${name} is not set: run this through \`vitest --project integration\``);
  return value;
}

function hostAndPort(text: string): HostAndPort {
  const [host = '', port = ''] = text.split(':');
  return { host, port: Number(port) };
}

/** The environment that global-setup brought up. */
export function readTestEnvironment(): TestEnvironment {
  return {
    origin: hostAndPort(required(names.origin)),
    target: hostAndPort(required(names.target)),
    proxyAddress: required(names.proxyAddress),
    username: required(names.username),
    password: required(names.password),
    awsEndpoint: required(names.awsEndpoint),
    toolsSocket: required(names.toolsSocket),
  };
}
