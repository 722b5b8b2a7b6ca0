import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { ServicesClient } from '@google-cloud/run';
import { expect, test } from 'vitest';
import { changeService, type SidecarOptions, withoutSidecar, withSidecar } from '#adapters/cloud-run.ts';

const options: SidecarOptions = {
  image: 'gcr.io/p/ringshift:1',
  env: { RINGSHIFT_CONFIG_FILE: '/config/migration.yaml' },
  secrets: { ORIGIN_PASSWORD: 'origin-password' },
  contactPointVariable: 'CASSANDRA_HOSTS',
  network: { network: 'default', subnetwork: 'default' },
  cpu: '1',
  memory: '1Gi',
};
const service = {
  name: 'projects/p/locations/l/services/s',
  etag: 'e1',
  template: {
    revision: 's-00001',
    containers: [
      { image: 'app:1', env: [{ name: 'CASSANDRA_HOSTS', value: '10.0.0.1' }], ports: [{ containerPort: 3000 }] },
    ],
  },
};

test('the application waits for the sidecar, reaches it on loopback and keeps its own port', () => {
  const changed = withSidecar(service, options);
  const [app, proxy] = changed.template?.containers ?? [];
  expect(app).toMatchObject({
    dependsOn: ['ringshift-proxy'],
    ports: [{ containerPort: 3000 }],
    env: [{ name: 'CASSANDRA_HOSTS', value: '127.0.0.1' }],
  });
  expect(proxy?.ports).toBeUndefined();
  expect(proxy?.resources?.cpuIdle).toBe(false);
  expect(proxy?.env).toContainEqual({
    name: 'ORIGIN_PASSWORD',
    valueSource: { secretKeyRef: { secret: 'origin-password', version: 'latest' } },
  });
  expect(changed.template?.revision).toBeUndefined();
  expect(changed.template?.scaling?.minInstanceCount).toBe(1);
});

test('adding it twice changes nothing more, removing it leaves the application alone', () => {
  const once = withSidecar(service, options);
  expect(withSidecar(once, options)).toEqual(once);
  const [app, ...rest] = withoutSidecar(once).template?.containers ?? [];
  expect(rest).toEqual([]);
  expect(app?.dependsOn).toEqual([]);
});

test('the real client reads, checks and writes against a server that speaks the API', async () => {
  const api = await startFakeApi(service);
  process.env['METADATA_SERVER_DETECTION'] = 'none';
  const client = new ServicesClient({
    apiEndpoint: 'localhost',
    port: api.port,
    sslCreds: api.insecure,
    projectId: 'p',
  });
  try {
    const name = service.name;
    await changeService(client, name, (found) => withSidecar(found, options), true);
    expect(api.updates[0]).toMatchObject({
      validateOnly: true,
      updateMask: { paths: ['template'] },
      service: { etag: 'e1' },
    });
    const updated = await changeService(client, name, (found) => withSidecar(found, options), false);
    expect(updated.template?.containers?.map((container) => container.name)).toEqual(['app', 'ringshift-proxy']);
    api.abort = true;
    await expect(changeService(client, name, (found) => found, false)).rejects.toThrow(/changed by somebody else/);
    api.missing = true;
    await expect(changeService(client, name, (found) => found, false)).rejects.toThrow(/Cloud Run refused/);
  } finally {
    await client.close();
    api.stop();
  }
});

/** The folder of the package.json above a resolved file; the package does not export its own. */
function findPackageRoot(file: string): string {
  const folder = dirname(file);
  return existsSync(join(folder, 'build', 'protos')) ? folder : findPackageRoot(folder);
}

/** A gRPC server made from the package's own protos. */
async function startFakeApi(initial: unknown) {
  const require = createRequire(import.meta.url);
  const home = dirname(require.resolve('@google-cloud/run/package.json'));
  const fromRun = createRequire(join(home, 'package.json'));
  const gaxHome = findPackageRoot(fromRun.resolve('google-gax'));
  const fromGax = createRequire(join(gaxHome, 'package.json'));
  const grpc = fromGax('@grpc/grpc-js');
  const loader = fromGax('@grpc/proto-loader');
  const protos = join(home, 'build', 'protos');
  const definition = loader.loadSync('google/cloud/run/v2/service.proto', {
    includeDirs: [protos, join(gaxHome, 'build', 'protos')],
    keepCase: false,
    defaults: false,
  });
  // biome-ignore lint/suspicious/noExplicitAny: the loaded package is untyped
  const api: any = {
    updates: [] as unknown[],
    abort: false,
    missing: false,
    insecure: grpc.credentials.createInsecure(),
  };
  const server = new grpc.Server();
  // biome-ignore lint/suspicious/noExplicitAny: grpc-js call objects are untyped here
  type Call = { request: any };
  type Reply = (error: unknown, value?: unknown) => void;
  server.addService(definition['google.cloud.run.v2.Services'], {
    getService: (_call: Call, reply: Reply) =>
      api.missing ? reply({ code: grpc.status.NOT_FOUND, details: 'no such service' }) : reply(null, initial),
    updateService: (call: Call, reply: Reply) => {
      if (api.abort) return reply({ code: grpc.status.ABORTED, details: 'etag' });
      api.updates.push(call.request);
      const type = definition['google.cloud.run.v2.Services'].UpdateService;
      const value = definition['google.cloud.run.v2.Services'].GetService.responseSerialize(call.request.service);
      expect(type).toBeDefined();
      reply(null, {
        name: 'operations/1',
        done: true,
        response: {
          typeUrl: 'type.googleapis.com/google.cloud.run.v2.Service',
          value,
          type_url: 'type.googleapis.com/google.cloud.run.v2.Service',
        },
      });
    },
  });
  api.port = await new Promise<number>((resolve, reject) =>
    server.bindAsync('localhost:0', grpc.ServerCredentials.createInsecure(), (error: Error | null, port: number) =>
      error ? reject(error) : resolve(port),
    ),
  );
  api.stop = () => server.forceShutdown();
  return api as {
    updates: unknown[];
    abort: boolean;
    missing: boolean;
    port: number;
    insecure: never;
    stop: () => void;
  };
}
