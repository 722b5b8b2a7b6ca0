/** One of the two clusters of a migration. */
export type ClusterName = 'origin' | 'target';
