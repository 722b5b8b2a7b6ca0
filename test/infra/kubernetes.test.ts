import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { parseAllDocuments } from 'yaml';
import { parseMigrationConfig } from '#core/config/parse.ts';

interface Manifest {
  readonly kind: string;
  readonly data?: Record<string, string>;
  readonly spec?: {
    readonly template?: {
      readonly spec: { readonly containers: { readonly volumeMounts: { name: string; mountPath: string }[] }[] };
    };
    readonly volumeClaimTemplates?: { readonly metadata: { readonly name: string } }[];
  };
}

const path = join(import.meta.dirname, '../../infra/deploy/kubernetes/proxy.yaml');
const manifests = parseAllDocuments(readFileSync(path, 'utf8')).map((one) => one.toJS() as Manifest);
const ofKind = (kind: string) => manifests.find((one) => one.kind === kind)!;

test('the proxies on Kubernetes keep their journal on a volume of their own, and say so', () => {
  const config = parseMigrationConfig(ofKind('ConfigMap').data!['migration.yaml']!, 'migration.yaml', {
    ORIGIN_PASSWORD: 'a',
    TARGET_PASSWORD: 'b',
    MIGRATION_BUCKET: 'bucket',
    POD_NAME: 'ringshift-proxy-0',
    ADMIN_TOKEN: 'sixteen-characters',
    FAILED_WRITES_QUEUE_URL: 'https://sqs.eu-west-1.amazonaws.com/1/failed',
  });
  expect(config.failedWrites.storage).toBe('volume');
  const { template, volumeClaimTemplates } = ofKind('StatefulSet').spec!;
  const mount = template!.spec.containers[0]!.volumeMounts.find(({ mountPath }) =>
    config.failedWrites.journalDir.startsWith(`${mountPath}/`),
  );
  expect(volumeClaimTemplates?.map(({ metadata }) => metadata.name)).toContain(mount?.name);
});
