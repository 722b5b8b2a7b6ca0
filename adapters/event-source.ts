/** The event source mapping that hands the queue's messages to the replay function. */
import {
  GetEventSourceMappingCommand,
  LambdaClient,
  ResourceConflictException,
  ResourceInUseException,
  UpdateEventSourceMappingCommand,
} from '@aws-sdk/client-lambda';
import type { MessageFlow } from '#core/jobs/tend-breaker.ts';
import { commonOptions, withRemedies } from './aws-clients.ts';

/** A client for Lambda; here, so that nobody else loads it. */
export function createLambdaClient(): LambdaClient {
  return withRemedies(new LambdaClient(commonOptions()));
}

/** @param id of the mapping (a UUID) */
export function createEventSource(client: Pick<LambdaClient, 'send'>, id: string): MessageFlow {
  return {
    async state() {
      const { State } = await client.send(new GetEventSourceMappingCommand({ UUID: id }));
      if (State === 'Enabled') return 'on';
      return State === 'Disabled' ? 'off' : 'changing';
    },
    async turn(wanted) {
      try {
        await client.send(new UpdateEventSourceMappingCommand({ UUID: id, Enabled: wanted === 'on' }));
      } catch (error) {
        // Another change of it is under way; the next look finds what came of it.
        if (!(error instanceof ResourceInUseException || error instanceof ResourceConflictException)) throw error;
      }
    },
  };
}
