/** No process of this proxy can answer now; one is being started. */
export class NoProcessError extends Error {}
