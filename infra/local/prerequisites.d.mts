/** A thing this machine lacks, and what to do about it. */
export interface MissingPrerequisite {
  readonly what: string;
  readonly remedy: string;
}

export function parseJavaMajor(versionText: string): number | undefined;
export function findJava17(env?: NodeJS.ProcessEnv, folders?: readonly string[]): string | undefined;
export function missingPrerequisites(env?: NodeJS.ProcessEnv, nodeVersion?: string): MissingPrerequisite[];
export function describeMissing(missing: readonly MissingPrerequisite[]): string;
