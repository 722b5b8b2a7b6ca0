const json = (description: string) => ({ description, content: { 'application/json': {} } });
const read = (summary: string) => ({ get: { summary, responses: { 200: json(summary) } } });
const secured = { security: [{ token: [] }] };
const refusals = { 400: json('Wrong request'), 401: json('No token'), 403: json('Changes are closed') };

/** The admin API, described for tools. */
export const openApiDocument = {
  openapi: '3.1.0',
  info: { title: 'Ringshift proxy, admin API', version: '1' },
  components: { securitySchemes: { token: { type: 'http', scheme: 'bearer' } } },
  paths: {
    '/health': { get: { summary: 'As /health/ready', responses: { 200: json('Ready'), 503: json('Not ready') } } },
    '/health/live': read('Whether the process runs'),
    '/health/ready': {
      get: {
        summary: 'Whether it should get traffic',
        responses: { 200: json('Ready'), 503: json('Not ready, with reasons') },
      },
    },
    '/metrics': { get: { summary: 'Prometheus metrics', responses: { 200: { description: 'Text format 0.0.4' } } } },
    '/status': read('What the proxy does now'),
    '/phase': {
      get: { summary: 'The phase record of the ledger', responses: { 200: json('Phase') } },
      put: {
        ...secured,
        summary: 'Change the phase: propose, wait for every proxy to drain, activate',
        requestBody: {
          required: true,
          content: {
            'application/json': {
              schema: {
                type: 'object',
                required: ['phase'],
                additionalProperties: false,
                properties: {
                  phase: { type: 'string' },
                  why: { type: 'string' },
                  by: { type: 'string' },
                  force: { type: 'array', items: { type: 'string' } },
                  fence: { type: 'array', items: { type: 'string' } },
                  abandonFiltered: { type: 'boolean' },
                  drainTimeoutMs: { type: 'integer' },
                },
              },
            },
          },
        },
        responses: { 200: json('The phase in force'), 409: json('The gate is closed, with reasons'), ...refusals },
      },
    },
    '/filters': {
      get: { summary: 'The filter rules in force', responses: { 200: json('Rules') } },
      post: { ...secured, summary: 'Read the rules file again', responses: { 200: json('Rules'), ...refusals } },
    },
    '/certificates/reload': {
      post: {
        ...secured,
        summary: 'Read certificates and secure connect bundles again that have changed',
        responses: { 200: json('What was read again'), ...refusals },
      },
    },
    '/openapi.json': read('This document'),
  },
};
