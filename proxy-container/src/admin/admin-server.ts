import { timingSafeEqual } from 'node:crypto';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { z } from 'zod';
import { ConfigError, describeError, GateClosedError, UsageError } from '#core/errors.ts';
import type { Logger } from '#core/ports.ts';
import { openApiDocument } from './openapi.ts';
import { type ProxyStatus, readinessOf } from './status.ts';

/** What the admin API needs of the proxy. */
export interface AdminPorts {
  readonly token: string | null;
  readonly maxSkewMs: number;
  readonly logger: Logger;
  status(): ProxyStatus;
  metrics(): Promise<string>;
  readPhase(): Promise<unknown>;
  /** @throws GateClosedError, UsageError */
  changePhase(request: PhaseRequest): Promise<unknown>;
  filters(): unknown;
  /** @throws ConfigError, UsageError; then the old rules stay in force */
  reloadFilters(): Promise<unknown>;
}

const phaseRequest = z.strictObject({
  phase: z.string().min(1).max(40),
  why: z.string().max(1000).default(''),
  by: z.string().min(1).max(200).default('admin-api'),
  force: z.boolean().default(false),
  abandonFiltered: z.boolean().default(false),
  fence: z.array(z.string().max(200)).max(1000).default([]),
  drainTimeoutMs: z.int().min(1).max(600_000).default(15_000),
});
export type PhaseRequest = z.output<typeof phaseRequest>;

interface Reply {
  readonly status: number;
  readonly body: unknown;
  readonly contentType?: string;
}

const MAX_BODY_BYTES = 64 * 1024;

/** The HTTP interface for operators and orchestrators; bound to loopback unless configured otherwise. */
export function createAdminServer(ports: AdminPorts): Server {
  const server = createServer((request, response) => {
    answer(ports, request).then(
      (reply) => send(response, reply),
      (error: unknown) => send(response, failure(ports, error)),
    );
  });
  server.headersTimeout = 10_000;
  server.requestTimeout = 30_000;
  return server;
}

async function answer(ports: AdminPorts, request: IncomingMessage): Promise<Reply> {
  const { pathname } = new URL(request.url ?? '/', 'http://admin');
  const key = `${request.method} ${pathname}`;
  switch (key) {
    case 'GET /health/live':
    case 'GET /health/liveness':
      return { status: 200, body: { status: 'UP' } };
    case 'GET /health':
    case 'GET /health/ready':
    case 'GET /health/readiness':
      return readiness(ports);
    case 'GET /metrics':
      return { status: 200, body: await ports.metrics(), contentType: 'text/plain; version=0.0.4; charset=utf-8' };
    case 'GET /status':
      return { status: 200, body: ports.status() };
    case 'GET /phase':
      return { status: 200, body: await ports.readPhase() };
    case 'PUT /phase':
      authorize(ports, request);
      return { status: 200, body: await ports.changePhase(parsePhaseRequest(await readBody(request))) };
    case 'GET /filters':
      return { status: 200, body: ports.filters() };
    case 'POST /filters':
    case 'POST /filters/reload':
      authorize(ports, request);
      return { status: 200, body: await ports.reloadFilters() };
    case 'GET /openapi.json':
      return { status: 200, body: openApiDocument };
    default:
      return { status: 404, body: { error: `there is no ${key}; see /openapi.json` } };
  }
}

function readiness(ports: AdminPorts): Reply {
  const status = ports.status();
  const reasons = readinessOf(status, ports.maxSkewMs);
  const up = (name: string): string =>
    status.clusters.find((cluster) => cluster.name === name)?.state === 'up' ? 'UP' : 'DOWN';
  const isReady = reasons.length === 0;
  return {
    status: isReady ? 200 : 503,
    body: {
      status: isReady ? 'healthy' : 'unhealthy',
      service: 'ringshift-proxy',
      Status: isReady ? 'UP' : 'DOWN',
      OriginStatus: up('origin'),
      TargetStatus: up('target'),
      phase: status.phase,
      reasons,
    },
  };
}

class NotAuthorized extends Error {
  readonly status: number;

  constructor(status: number, message: string) {
    super(message);
    this.status = status;
  }
}

function authorize(ports: AdminPorts, request: IncomingMessage): void {
  if (ports.token === null) throw new NotAuthorized(403, 'changes are closed: set proxy.admin.token');
  const given = Buffer.from(/^Bearer (.+)$/.exec(request.headers.authorization ?? '')?.[1] ?? '');
  const wanted = Buffer.from(ports.token);
  if (given.length !== wanted.length || !timingSafeEqual(given, wanted)) {
    throw new NotAuthorized(401, 'send the header Authorization: Bearer <proxy.admin.token>');
  }
}

function parsePhaseRequest(text: string): PhaseRequest {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    throw new UsageError('the body is not JSON; send {"phase": "dual-async", "why": "…"}');
  }
  const parsed = phaseRequest.safeParse(value);
  if (parsed.success) return parsed.data;
  throw new UsageError(parsed.error.issues.map((issue) => `${issue.path.join('.')}: ${issue.message}`).join('; '));
}

async function readBody(request: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  let byteCount = 0;
  for await (const chunk of request as AsyncIterable<Buffer>) {
    byteCount += chunk.length;
    if (byteCount > MAX_BODY_BYTES) throw new UsageError('the body is too long');
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString();
}

function failure(ports: AdminPorts, error: unknown): Reply {
  const body = { error: describeError(error) };
  if (error instanceof NotAuthorized) return { status: error.status, body };
  if (error instanceof GateClosedError) return { status: 409, body: { ...body, reasons: error.reasons } };
  if (error instanceof ConfigError) return { status: 400, body: { ...body, issues: error.issues } };
  if (error instanceof UsageError) return { status: 400, body };
  ports.logger.error('the admin API failed', body);
  return { status: 500, body };
}

function send(response: ServerResponse, reply: Reply): void {
  const isText = typeof reply.body === 'string';
  response.writeHead(reply.status, { 'content-type': reply.contentType ?? 'application/json; charset=utf-8' });
  response.end(isText ? reply.body : `${JSON.stringify(reply.body)}\n`);
}
