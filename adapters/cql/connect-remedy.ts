import type { ResolvedCluster } from '#core/config/schema.ts';
import { AuthenticationFailedError, ClusterUnreachableError, describeError } from '#core/errors.ts';

/** What went wrong when the proxy itself connected to a cluster, with the setting to look at. */
export function withRemedy(config: ResolvedCluster, error: unknown): Error {
  const { name, contactPoints, port, secureConnectBundle } = config;
  if (error instanceof AuthenticationFailedError) {
    return new AuthenticationFailedError(
      `the ${name} refuses the login of ${name}.auth (${describeError(error)}); correct it in the config`,
    );
  }
  const where =
    secureConnectBundle === null
      ? `${name}.contactPoints (${contactPoints.join(', ')}), port ${port}`
      : `${name}.secureConnectBundle (${secureConnectBundle})`;
  return new ClusterUnreachableError(`${describeError(error)}; check ${where}, and that the cluster runs`, {
    cause: error,
  });
}
