import { appLogin } from '../cluster-roles.ts';
import type { LocalEnvironment } from '../environment.ts';
import { venvFolder } from '../paths.ts';

/** What `--keep` prints: where everything is, and the command that ends it. */
export function howToConnect(environment: LocalEnvironment): string[] {
  const cqlsh = (address: string): string =>
    `${venvFolder}/bin/cqlsh ${address} 9042 -u ${appLogin.username} -p ${appLogin.password}`;
  return [
    '',
    'Still running, until `npx ringshift local down`:',
    `  through the proxy   ${cqlsh(environment.proxyAddress)}`,
    `  the target          ${cqlsh(environment.target.address)}`,
    `  the proxy's pages   http://${environment.proxyAddress}:8080/status  /metrics  /health/ready  /phase`,
    `  the config          ${environment.folder}/migration.yaml`,
    'To use the ringshift command and the AWS tools with it:',
  ];
}
