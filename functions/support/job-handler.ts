import middy, { type MiddlewareObj } from '@middy/core';
import type { Context } from 'aws-lambda';
import type { Logger } from '#core/ports.ts';
import { type Deadline, startDeadline } from './deadline.ts';
import { createJobEnvironment, type JobEnvironment } from './environment.ts';
import { createFunctionLogger } from './logger.ts';
import { toReportableError } from './reportable-error.ts';

/** What a handler is given beside its event. */
export interface Job extends Omit<Deadline, 'clear'> {
  readonly environment: JobEnvironment;
  readonly logger: Logger;
}

/** Filled by one middleware after the other. */
type UnfinishedJob = { -readonly [Key in keyof (Job & Deadline)]?: (Job & Deadline)[Key] };

interface JobContext extends Context {
  ringshift: UnfinishedJob;
}

type JobMiddleware = MiddlewareObj<unknown, unknown, Error, JobContext>;

/** Log lines with the request's id; errors under the name that the state machines match. */
function reportErrors(name: string): JobMiddleware {
  return {
    before: ({ context }) => {
      context.ringshift = { logger: createFunctionLogger({ function: name, requestId: context.awsRequestId }) };
    },
    onError: (request) => {
      const error = toReportableError(request.error);
      request.context.ringshift.logger?.error('failed', {
        error: error.name,
        reason: error.message,
        stack: error.stack,
        context: 'context' in error ? error.context : undefined,
      });
      request.error = error;
    },
  };
}

/** An AbortSignal before the platform's time-out. */
function watchTime(): JobMiddleware {
  const stop: JobMiddleware['after'] = ({ context }) => context.ringshift.clear?.();
  return {
    before: ({ context }) => {
      Object.assign(context.ringshift, startDeadline(context, Date.now()));
    },
    after: stop,
    onError: stop,
  };
}

/** Configuration, clients and sessions: made by the first invocation, kept for the next ones. */
function provideEnvironment(create: () => Promise<JobEnvironment>): JobMiddleware {
  let environment: Promise<JobEnvironment> | undefined;
  return {
    before: async ({ context }) => {
      environment ??= create();
      try {
        context.ringshift.environment = await environment;
      } catch (error) {
        environment = undefined;
        throw error;
      }
    },
  };
}

/** A Lambda handler around a job: `run` holds the wiring, the middlewares everything that all functions share. */
export function jobHandler<Event, Result>(
  name: string,
  run: (event: Event, job: Job) => Promise<Result>,
  create: () => Promise<JobEnvironment> = createJobEnvironment,
) {
  return middy<Event, Result, Error, JobContext>({ timeoutEarlyInMillis: 0 })
    .use(reportErrors(name) as MiddlewareObj<Event, Result, Error, JobContext>)
    .use(watchTime() as MiddlewareObj<Event, Result, Error, JobContext>)
    .use(provideEnvironment(create) as MiddlewareObj<Event, Result, Error, JobContext>)
    .handler((event: Event, context: JobContext) => run(event, context.ringshift as Job));
}
