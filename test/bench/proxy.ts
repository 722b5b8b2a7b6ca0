/**
 * What the proxy costs, against floors in Rust and, given its binary, against zdm-proxy: CPU seconds of the proxy's
 * process per million requests, added latency, two processes, TLS, memory, pauses of the collector. Stub clusters and load come from
 * cqlbench, which needs cargo and Linux. The figures of one machine compare with each other only: ratios are what counts.
 *
 *   npm run bench:proxy -- [--quick] [--rounds 5] [--seconds 4] [--only "ours,floor dual"] [--scenario "64 × 4"]
 *                          [--zdm PATH] [--before CHECKOUT] [--idle 2000] [--no-memory] [--no-more] [--max-foreign 0.15] [--proxy-cpu 1] [--rest-cpu 0]
 */
import { parseArgs } from 'node:util';
import { contenders } from './proxy/contenders.ts';
import { measureMemory } from './proxy/memory.ts';
import { measurePair } from './proxy/pair.ts';
import { report } from './proxy/report.ts';
import { collect, SCENARIOS } from './proxy/samples.ts';
import { measureTls } from './proxy/tls.ts';
import { buildTools, startStubs } from './proxy/tools.ts';

const { values } = parseArgs({
  options: {
    quick: { type: 'boolean', default: false },
    rounds: { type: 'string' },
    seconds: { type: 'string' },
    only: { type: 'string' },
    scenario: { type: 'string' },
    zdm: { type: 'string' },
    before: { type: 'string' },
    idle: { type: 'string', default: '2000' },
    memory: { type: 'boolean', default: true },
    more: { type: 'boolean', default: true },
    'max-foreign': { type: 'string', default: '0.15' },
    'proxy-cpu': { type: 'string', default: '1' },
    'rest-cpu': { type: 'string', default: '0' },
  },
  allowNegative: true,
});
const print = (line: string): boolean => process.stdout.write(`${line}\n`);

const tools = await buildTools();
if (tools === undefined) {
  print('skipped: bench:proxy needs cargo (https://rustup.rs) for its stub clusters, load generator and floors');
  process.exit(0);
}
const cpus = { proxy: Number(values['proxy-cpu']), rest: Number(values['rest-cpu']) };
const seconds = Number(values.seconds ?? (values.quick ? 2 : 4));
const names = values.only?.split(',').map((name) => name.trim());
const chosen = contenders(tools, cpus, { zdm: values.zdm, before: values.before }).filter(
  ({ name }) => names === undefined || names.includes(name),
);
const scenarios = SCENARIOS.filter(({ name }) => values.scenario === undefined || name.includes(values.scenario));

const stubs = await startStubs(tools, cpus);
try {
  if (values.zdm === undefined) {
    print('no zdm-proxy here (--zdm PATH): ratios are to the floors, and to a reference figure measured elsewhere');
  }
  const collected = await collect({
    tools,
    cpus,
    rounds: Number(values.rounds ?? (values.quick ? 1 : 5)),
    seconds,
    maxForeign: Number(values['max-foreign']),
    scenarios,
    contenders: chosen,
    stubPid: stubs.pid,
    note: print,
  });
  for (const line of report(collected, values.zdm !== undefined)) print(line);
  if (values.more) {
    const options = { rounds: values.quick ? 2 : 5, seconds, stubPid: stubs.pid };
    for (const line of await measurePair(tools, cpus, options)) print(line);
    for (const line of await measureTls(cpus, options)) print(line);
  }
  if (values.memory && !values.quick) {
    const options = { seconds: Math.max(10, seconds), idle: Number(values.idle), stubPid: stubs.pid };
    for (const line of await measureMemory(tools, cpus, options)) print(line);
  }
} finally {
  await stubs.stop();
}
