import { timingSafeEqual } from 'node:crypto';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { ProxyConfig } from '#core/config/schema.ts';
import { ConfigError, describeError, GateClosedError, UsageError } from '#core/errors.ts';
import type { Logger } from '#core/ports.ts';
import { type AdminSubject, type PhaseRequest, phaseRequestSchema } from './admin-subject.ts';
import { healthOf, zdmHealthOf } from './health.ts';
import { renderMetrics } from './metric-family.ts';
import { NoProcessError } from './no-process-error.ts';
import { openApiDocument } from './openapi.ts';

type AdminSettings = Pick<ProxyConfig, 'admin' | 'clocks'>;

interface Reply {
  readonly status: number;
  readonly body: unknown;
  readonly contentType?: string;
}

const TEXT_FORMAT = 'text/plain; version=0.0.4; charset=utf-8';
const MAX_BODY_BYTES = 1024 * 1024;

/** The HTTP interface for operators and orchestrators; bound to loopback unless configured otherwise. */
export function createAdminServer(settings: AdminSettings, subject: AdminSubject, logger: Logger): Server {
  const server = createServer((request, response) => {
    answer(settings, subject, request).then(
      (reply) => send(response, reply),
      (error: unknown) => send(response, failure(logger, error)),
    );
  });
  server.headersTimeout = 10_000;
  server.requestTimeout = 30_000;
  return server;
}

async function answer(settings: AdminSettings, subject: AdminSubject, request: IncomingMessage): Promise<Reply> {
  const [path] = (request.url ?? '/').split('?');
  const key = `${request.method} ${path}`;
  switch (key) {
    case 'GET /health/live':
    case 'GET /health/liveness':
      return { status: 200, body: { status: 'UP' } };
    case 'GET /health':
    case 'GET /health/ready':
      return healthOf(subject, settings.clocks.maxSkewMs);
    case 'GET /health/readiness':
      return zdmHealthOf(subject, settings.clocks.maxSkewMs);
    case 'GET /metrics':
      return { status: 200, body: renderMetrics(await subject.metrics()), contentType: TEXT_FORMAT };
    case 'GET /status':
      return { status: 200, body: await subject.status() };
    case 'GET /phase':
      return { status: 200, body: await subject.readPhase() };
    case 'PUT /phase':
      authorize(settings.admin.token, request);
      return { status: 200, body: await subject.changePhase(parsePhaseRequest(await readBody(request))) };
    case 'GET /filters':
      return { status: 200, body: await subject.filters() };
    case 'POST /filters':
    case 'POST /filters/reload':
      authorize(settings.admin.token, request);
      return { status: 200, body: await subject.reloadFilters() };
    case 'POST /certificates/reload':
      authorize(settings.admin.token, request);
      return { status: 200, body: await subject.reloadCertificates() };
    case 'GET /openapi.json':
      return { status: 200, body: openApiDocument };
    default:
      return { status: 404, body: { error: `there is no ${key}; see /openapi.json` } };
  }
}

/** A request that is answered with this status. */
class Refused extends Error {
  readonly status: number;

  constructor(status: number, message: string) {
    super(message);
    this.status = status;
  }
}

function authorize(token: string | null, request: IncomingMessage): void {
  if (token === null) throw new Refused(403, 'changes are closed: set proxy.admin.token');
  const given = Buffer.from(/^Bearer (.+)$/.exec(request.headers.authorization ?? '')?.[1] ?? '');
  const wanted = Buffer.from(token);
  if (given.length !== wanted.length || !timingSafeEqual(given, wanted)) {
    throw new Refused(401, 'send the header Authorization: Bearer <proxy.admin.token>');
  }
}

function parsePhaseRequest(text: string): PhaseRequest {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    throw new UsageError('the body is not JSON; send {"phase": "dual-async", "why": "…"}');
  }
  const parsed = phaseRequestSchema.safeParse(value);
  if (parsed.success) return parsed.data;
  throw new UsageError(parsed.error.issues.map((issue) => `${issue.path.join('.')}: ${issue.message}`).join('; '));
}

async function readBody(request: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  let byteCount = 0;
  for await (const chunk of request as AsyncIterable<Buffer>) {
    byteCount += chunk.length;
    // Read to its end, so that whoever sends it reads the answer and is not cut off.
    if (byteCount <= MAX_BODY_BYTES) chunks.push(chunk);
  }
  if (byteCount > MAX_BODY_BYTES) throw new Refused(413, `the body is longer than ${MAX_BODY_BYTES} bytes`);
  return Buffer.concat(chunks).toString();
}

function failure(logger: Logger, error: unknown): Reply {
  const body = { error: describeError(error) };
  if (error instanceof Refused) return { status: error.status, body };
  if (error instanceof GateClosedError)
    return { status: 409, body: { ...body, reasons: error.reasons, unmet: error.unmet } };
  if (error instanceof ConfigError) return { status: 400, body: { ...body, issues: error.issues } };
  if (error instanceof UsageError) return { status: 400, body };
  if (error instanceof NoProcessError) return { status: 503, body };
  logger.error('the admin API failed', body);
  return { status: 500, body };
}

function send(response: ServerResponse, reply: Reply): void {
  const isText = typeof reply.body === 'string';
  response.writeHead(reply.status, { 'content-type': reply.contentType ?? 'application/json; charset=utf-8' });
  response.end(isText ? reply.body : `${JSON.stringify(reply.body)}\n`);
}
