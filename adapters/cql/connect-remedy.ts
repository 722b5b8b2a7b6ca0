import type { ResolvedCluster } from '#core/config/schema.ts';
import { AuthenticationFailedError, ClusterUnreachableError, describeError } from '#core/errors.ts';

/** What went wrong when this side connected to a cluster with a login of its own, with the setting to look at. */
export function withRemedy(config: ResolvedCluster, error: unknown): Error {
  const { name, contactPoints, port, secureConnectBundle } = config;
  if (error instanceof AuthenticationFailedError) {
    return new AuthenticationFailedError(
      `the ${name} refuses the login of ${name}.auth (${describeError(error)}); correct it in the config`,
      { cause: error },
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
