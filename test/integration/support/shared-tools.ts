/** nodetool and sstabledump for all test files of a run, which share one JVM for each release of Cassandra. */
import { mkdtempSync, rmSync } from 'node:fs';
import { createConnection, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import type { NodeSettings } from '../../../infra/local/cassandra-config.ts';
import { CassandraTools } from './cassandra-tools.ts';
import { readTestEnvironment } from './test-environment.ts';

interface Asked {
  readonly tool: 'nodetool' | 'sstabledump';
  readonly node: NodeSettings;
  readonly args: readonly string[];
}

type Answer = { readonly output: string } | { readonly error: string };

export interface SharedTools {
  /** Where test files ask for them. */
  readonly socket: string;
  close(): void;
}

/** Serves the tools to the processes of a run; a JVM is started when it is first asked for. */
export async function shareTools(java: string): Promise<SharedTools> {
  const folder = mkdtempSync(join(tmpdir(), 'ringshift-tools-'));
  const socket = join(folder, 'socket');
  const running = new Map<string, Promise<CassandraTools>>();
  const run = async ({ tool, node, args }: Asked): Promise<string> => {
    const release = `${node.version} ${node.sstableFormat}`;
    const starting = running.get(release) ?? CassandraTools.start(java, node);
    running.set(release, starting);
    const tools = await starting.catch((error: unknown) => {
      running.delete(release);
      throw error;
    });
    // Whoever asks next gets another one.
    tools.onEnd(() => running.delete(release));
    return tool === 'nodetool' ? tools.nodetoolOf(node, ...args) : tools.sstabledump(args[0]!);
  };
  // Who asks ends its side with the question, and reads until the answer has ended.
  const server = createServer({ allowHalfOpen: true }, async (connection) => {
    // Of a test file that was interrupted.
    connection.on('error', () => connection.destroy());
    try {
      const answer = await text(connection)
        .then((asked) => run(JSON.parse(asked) as Asked))
        .then(
          (output): Answer => ({ output }),
          (error: unknown): Answer => ({ error: String(error) }),
        );
      connection.end(JSON.stringify(answer));
    } catch {
      connection.destroy();
    }
  });
  await new Promise<void>((resolve, reject) => server.once('error', reject).listen(socket, resolve));
  return {
    socket,
    close: () => {
      server.close();
      for (const starting of running.values()) {
        void starting.then(
          (tools) => tools.stop(),
          () => undefined,
        );
      }
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

async function ask(asked: Asked): Promise<string> {
  const connection = createConnection(readTestEnvironment().toolsSocket);
  connection.end(JSON.stringify(asked));
  const answer = JSON.parse(await text(connection)) as Answer;
  if ('error' in answer) throw new Error(answer.error);
  return answer.output;
}

/** Runs `nodetool` against a node and resolves to what it printed. @throws Error with what it said when it failed */
export function nodetool(node: NodeSettings, ...args: string[]): Promise<string> {
  return ask({ tool: 'nodetool', node, args });
}

/**
 * Takes a snapshot of keyspaces. It flushes them first: a snapshot by itself does not wait for a flush that is under way, and
 * lacks what that writes.
 */
export async function takeSnapshot(node: NodeSettings, tag: string, ...keyspaces: string[]): Promise<void> {
  for (const keyspace of keyspaces) await nodetool(node, 'flush', keyspace);
  await nodetool(node, 'snapshot', '-t', tag, ...keyspaces);
}

/** The JSON text, with raw times. @param node whose release and configuration the tool has; it need not run */
export function sstabledump(node: NodeSettings, dataFile: string): Promise<string> {
  return ask({ tool: 'sstabledump', node, args: [dataFile] });
}
