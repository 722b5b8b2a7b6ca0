/** Stands before an AWS endpoint and does to its callers what networks and services do: errors, delays, lost answers. */
import {
  createServer,
  request as httpRequest,
  type IncomingMessage,
  type Server,
  type ServerResponse,
} from 'node:http';
import type { AddressInfo } from 'node:net';

export interface AwsRequest {
  readonly service: 'sqs' | 's3';
  /** `SendMessageBatch`, or the method of a request to S3. */
  readonly operation: string;
  readonly path: string;
}

export interface AwsFault {
  readonly delayMs?: number;
  /** Answered at once with this status; the service never hears of it. */
  readonly answer?: 500 | 503;
  /** The connection breaks: before the service hears of it, or after it has done it. */
  readonly reset?: 'before' | 'after';
}

export class AwsFaultProxy {
  /** Asked for each request. */
  faultOf: (request: AwsRequest) => AwsFault = () => ({});
  /** Told the body of each request that the service has answered well. */
  onDone: (request: AwsRequest, body: string) => void = () => undefined;
  faults = 0;
  readonly #to: URL;
  readonly #server: Server;

  constructor(endpoint: string) {
    this.#to = new URL(endpoint);
    this.#server = createServer((incoming, response) => void this.#forward(incoming, response));
  }

  /** Resolves to the endpoint. */
  async listen(): Promise<string> {
    await new Promise<void>((resolve) => this.#server.listen(0, '127.0.0.1', resolve));
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  close(): Promise<void> {
    this.#server.closeAllConnections();
    return new Promise((resolve) => this.#server.close(() => resolve()));
  }

  async #forward(incoming: IncomingMessage, response: ServerResponse): Promise<void> {
    const chunks: Buffer[] = [];
    try {
      for await (const chunk of incoming) chunks.push(chunk as Buffer);
    } catch {
      return; // the caller is gone
    }
    const body = Buffer.concat(chunks);
    const target = incoming.headers['x-amz-target'];
    const isSqs = typeof target === 'string' && target.startsWith('AmazonSQS.');
    const asked: AwsRequest = {
      service: isSqs ? 'sqs' : 's3',
      operation: isSqs ? target.slice('AmazonSQS.'.length) : (incoming.method ?? ''),
      path: incoming.url ?? '',
    };
    const fault = this.faultOf(asked);
    if (Object.keys(fault).length > 0) this.faults++;
    if (fault.delayMs !== undefined) await new Promise((resolve) => setTimeout(resolve, fault.delayMs));
    if (fault.reset === 'before') return void incoming.socket.destroy();
    if (fault.answer !== undefined) return void response.writeHead(fault.answer).end();
    const { hostname, port } = this.#to;
    const { method, url: path, headers } = incoming;
    const outgoing = httpRequest({ hostname, port, method, path, headers }, (answer) => {
      if ((answer.statusCode ?? 500) < 300) this.onDone(asked, body.toString());
      if (fault.reset === 'after') {
        answer.resume();
        incoming.socket.destroy();
        return;
      }
      response.writeHead(answer.statusCode ?? 500, answer.headers);
      answer.pipe(response);
    });
    outgoing.on('error', () => incoming.socket.destroy());
    outgoing.end(body);
  }
}
