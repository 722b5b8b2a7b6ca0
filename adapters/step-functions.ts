import {
  DescribeExecutionCommand,
  DescribeMapRunCommand,
  ExecutionAlreadyExists,
  ExecutionDoesNotExist,
  type ExecutionStatus,
  ListExecutionsCommand,
  ListMapRunsCommand,
  paginateListStateMachines,
  type SFNClient,
  StartExecutionCommand,
  StopExecutionCommand,
} from '@aws-sdk/client-sfn';
import { PrerequisiteError, UsageError } from '#core/errors.ts';

export interface ExecutionInfo {
  readonly executionArn: string;
  readonly name: string;
  readonly status: ExecutionStatus;
  readonly startedAt?: Date;
  readonly stoppedAt?: Date;
}

export interface ExecutionDetail extends ExecutionInfo {
  /** What the last state gave out, parsed; undefined while running and after a failure. */
  readonly output?: unknown;
  /** Of a failed execution: the error's name and what to do. */
  readonly error?: string;
  readonly cause?: string;
}

/** Ranges of a Distributed Map, counted by the service. */
export interface MapProgress {
  readonly total: number;
  readonly pending: number;
  readonly running: number;
  readonly succeeded: number;
  readonly failed: number;
}

export interface StateMachines {
  /** @throws PrerequisiteError when no state machine has this name here */
  find(name: string): Promise<string>;
  /** Starts a run named `runId`. @throws UsageError when that name is taken */
  start(stateMachineArn: string, runId: string, input: unknown): Promise<ExecutionInfo>;
  /** @throws UsageError when there is no such execution */
  describe(executionArn: string): Promise<ExecutionDetail>;
  stop(executionArn: string, reason: string): Promise<void>;
  /** Latest first. */
  list(stateMachineArn: string, limit?: number): Promise<readonly ExecutionInfo[]>;
  /** Progress of each Distributed Map that the execution has started, in order; empty where it is not known. */
  mapProgress(executionArn: string): Promise<readonly MapProgress[]>;
}

/** The service's calls that the command needs, over one client. */
export function createStateMachines(client: SFNClient): StateMachines {
  return {
    async find(name) {
      for await (const page of paginateListStateMachines({ client }, {})) {
        const found = page.stateMachines?.find((machine) => machine.name === name);
        if (found?.stateMachineArn !== undefined) return found.stateMachineArn;
      }
      throw new PrerequisiteError(
        `there is no state machine ${name} in this account and region: deploy it with npx cdk deploy --all, or correct AWS_REGION and AWS_ENDPOINT_URL`,
      );
    },
    async start(stateMachineArn, runId, input) {
      try {
        const answer = await client.send(
          new StartExecutionCommand({ stateMachineArn, name: runId, input: JSON.stringify(input) }),
        );
        return {
          executionArn: answer.executionArn ?? executionArnOf(stateMachineArn, runId),
          name: runId,
          status: 'RUNNING',
          startedAt: answer.startDate,
        };
      } catch (error) {
        if (error instanceof ExecutionAlreadyExists) {
          throw new UsageError(`there is a run ${runId} already: choose another name, or resume it`, { cause: error });
        }
        throw error;
      }
    },
    async describe(executionArn) {
      try {
        const answer = await client.send(new DescribeExecutionCommand({ executionArn }));
        return {
          executionArn,
          name: answer.name ?? executionArn.slice(executionArn.lastIndexOf(':') + 1),
          status: answer.status ?? 'RUNNING',
          startedAt: answer.startDate,
          stoppedAt: answer.stopDate,
          output: answer.output === undefined ? undefined : JSON.parse(answer.output),
          error: answer.error,
          cause: answer.cause,
        };
      } catch (error) {
        if (error instanceof ExecutionDoesNotExist) {
          throw new UsageError(`there is no execution ${executionArn}`, { cause: error });
        }
        throw error;
      }
    },
    async stop(executionArn, reason) {
      await client.send(new StopExecutionCommand({ executionArn, error: 'Stopped', cause: reason }));
    },
    async list(stateMachineArn, limit = 20) {
      const answer = await client.send(new ListExecutionsCommand({ stateMachineArn, maxResults: limit }));
      return (answer.executions ?? []).map((execution) => ({
        executionArn: execution.executionArn ?? '',
        name: execution.name ?? '',
        status: execution.status ?? 'RUNNING',
        startedAt: execution.startDate,
        stoppedAt: execution.stopDate,
      }));
    },
    async mapProgress(executionArn) {
      const runs = (await client.send(new ListMapRunsCommand({ executionArn }))).mapRuns ?? [];
      const inOrder = runs.toSorted((a, b) => (a.startDate?.getTime() ?? 0) - (b.startDate?.getTime() ?? 0));
      return Promise.all(inOrder.map((run) => describeMapRun(client, run.mapRunArn)));
    },
  };
}

/** The ARN that an execution of this name has; executions of one state machine have unique names. */
export function executionArnOf(stateMachineArn: string, runId: string): string {
  return `${stateMachineArn.replace(':stateMachine:', ':execution:')}:${runId}`;
}

async function describeMapRun(client: SFNClient, mapRunArn: string | undefined): Promise<MapProgress> {
  const { itemCounts: counts } = await client.send(new DescribeMapRunCommand({ mapRunArn }));
  return {
    total: counts?.total ?? 0,
    pending: counts?.pending ?? 0,
    running: counts?.running ?? 0,
    succeeded: counts?.succeeded ?? 0,
    failed: (counts?.failed ?? 0) + (counts?.timedOut ?? 0) + (counts?.aborted ?? 0),
  };
}
