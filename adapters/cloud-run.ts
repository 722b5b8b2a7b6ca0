/** Puts the proxy beside a Cloud Run service as a sidecar, and takes it away again: read, modify, write with the etag. */
import { ServicesClient } from '@google-cloud/run';
import type { google } from '@google-cloud/run/build/protos/protos.js';
import { describeError, GateClosedError, PrerequisiteError } from '#core/errors.ts';

type Service = google.cloud.run.v2.IService;
type Container = google.cloud.run.v2.IContainer;

const SIDECAR = 'ringshift-proxy';
const CQL_PORT = 9042;
const ADMIN_PORT = 8080;
const STARTUP_PERIOD_SECONDS = 1;
const STARTUP_ATTEMPTS = 60;

export interface SidecarOptions {
  readonly image: string;
  /** Plain environment of the sidecar; never a secret. */
  readonly env: Readonly<Record<string, string>>;
  /** Environment name → Secret Manager secret (its latest version). */
  readonly secrets: Readonly<Record<string, string>>;
  /** A second environment name in the application's container is set to 127.0.0.1, e.g. CASSANDRA_HOSTS. */
  readonly contactPointVariable: string | null;
  readonly network: { readonly network: string; readonly subnetwork: string } | null;
  readonly cpu: string;
  readonly memory: string;
}

/**
 * The service with the sidecar in it; the input is left alone. Pure; running it on its own result changes nothing.
 * @throws PrerequisiteError when no container of the service has a port (the application's can't be told)
 */
export function withSidecar(service: Service, options: SidecarOptions): Service {
  const template = service.template ?? {};
  const others = (template.containers ?? []).filter((container) => container.name !== SIDECAR);
  const app = others.length === 1 ? others[0] : others.find((container) => (container.ports ?? []).length > 0);
  if (!app)
    throw new PrerequisiteError('the service has no container with a port: name the application by giving it one');
  const appContainer: Container = {
    ...app,
    name: app.name || 'app',
    ports: app.ports?.length ? app.ports : [{ containerPort: 8080 }],
    dependsOn: [...new Set([...(app.dependsOn ?? []), SIDECAR])],
    env: options.contactPointVariable
      ? [
          ...(app.env ?? []).filter((variable) => variable.name !== options.contactPointVariable),
          { name: options.contactPointVariable, value: '127.0.0.1' },
        ]
      : (app.env ?? []),
    // Shadow writes go on after the reply: without CPU between requests they would stop.
    resources: { ...app.resources, cpuIdle: false },
  };
  const { revision: _fresh, ...kept } = template;
  return {
    ...service,
    template: {
      ...kept,
      containers: [appContainer, ...others.filter((container) => container !== app), sidecar(options)],
      scaling: {
        ...template.scaling,
        // Back-off and queueing need an instance that stays.
        minInstanceCount: Math.max(1, template.scaling?.minInstanceCount ?? 0),
      },
      ...(options.network
        ? { vpcAccess: { ...template.vpcAccess, networkInterfaces: [options.network], egress: 'PRIVATE_RANGES_ONLY' } }
        : {}),
    },
  };
}

function sidecar(options: SidecarOptions): Container {
  return {
    name: SIDECAR,
    image: options.image,
    env: [
      ...Object.entries(options.env).map(([name, value]) => ({ name, value })),
      ...Object.entries(options.secrets).map(([name, secret]) => ({
        name,
        valueSource: { secretKeyRef: { secret, version: 'latest' } },
      })),
    ],
    resources: { limits: { cpu: options.cpu, memory: options.memory }, cpuIdle: false },
    startupProbe: {
      tcpSocket: { port: CQL_PORT },
      periodSeconds: STARTUP_PERIOD_SECONDS,
      timeoutSeconds: STARTUP_PERIOD_SECONDS,
      failureThreshold: STARTUP_ATTEMPTS,
    },
    livenessProbe: { httpGet: { path: '/health/live', port: ADMIN_PORT }, periodSeconds: 10, failureThreshold: 3 },
  };
}

/** The service without the sidecar; the application's contact point is the caller's to set back. Pure. */
export function withoutSidecar(service: Service): Service {
  const { revision: _fresh, ...template } = service.template ?? {};
  return {
    ...service,
    template: {
      ...template,
      containers: (template.containers ?? [])
        .filter((container) => container.name !== SIDECAR)
        .map((container) => ({
          ...container,
          dependsOn: (container.dependsOn ?? []).filter((name) => name !== SIDECAR),
        })),
    },
  };
}

/**
 * Reads the service, changes it, writes it back; with `validateOnly` the API checks it and changes nothing.
 * @param name projects/P/locations/L/services/S
 * @throws PrerequisiteError with Cloud Run's reason, GateClosedError when somebody else changed the service meanwhile
 */
export async function changeService(
  client: ServicesClient,
  name: string,
  change: (service: Service) => Service,
  validateOnly: boolean,
): Promise<Service> {
  try {
    const [found] = await client.getService({ name });
    const [operation] = await client.updateService({
      service: change(found),
      updateMask: { paths: ['template'] },
      validateOnly,
    });
    const [updated] = await operation.promise();
    return updated;
  } catch (cause) {
    if (cause instanceof PrerequisiteError) throw cause;
    const aborted = 10;
    if ((cause as { code?: number }).code === aborted) {
      throw new GateClosedError(`the update of ${name}`, [
        'the service was changed by somebody else meanwhile; run it again',
      ]);
    }
    throw new PrerequisiteError(
      `Cloud Run refused ${name}: ${describeError(cause)}; check the name, the region and the roles run.services.get/update and iam.serviceAccounts.actAs`,
      { cause },
    );
  }
}

/** The client with the credentials of the environment (Application Default Credentials). */
export function createServicesClient(): ServicesClient {
  return new ServicesClient();
}
