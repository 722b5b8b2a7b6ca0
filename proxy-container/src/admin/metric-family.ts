/** Metrics as plain data, so that those of several processes can be put together before they become text. */

/** What a metric is, apart from its values. */
export interface MetricDefinition {
  readonly name: string;
  readonly help: string;
  readonly type: 'counter' | 'gauge' | 'histogram';
  readonly labels: readonly string[];
  /** What the value of a host is when its processes have one each. */
  readonly merge: 'sum' | 'max' | 'min';
}

/** One series: what follows the metric's name in the text format, and its value. */
export type MetricSample = readonly [series: string, value: number];

export interface MetricFamily extends MetricDefinition {
  readonly samples: readonly MetricSample[];
}

/** Labels in the text format: `{cluster="origin",kind="read"}`. */
export function labelText(labels: Readonly<Record<string, string>>): string {
  const pairs = Object.entries(labels).map(([name, value]) => `${name}="${escapeLabel(value)}"`);
  return pairs.length === 0 ? '' : `{${pairs.join(',')}}`;
}

function escapeLabel(value: string): string {
  return value.replace(/[\\"\n]/g, (sign) => (sign === '\n' ? '\\n' : `\\${sign}`));
}

/** The text format 0.0.4 of Prometheus. */
export function renderMetrics(families: readonly MetricFamily[]): string {
  const lines: string[] = [];
  for (const { name, help, type, samples } of families) {
    if (samples.length === 0) continue;
    lines.push(`# HELP ${name} ${help}`, `# TYPE ${name} ${type}`);
    for (const [series, value] of samples) lines.push(`${name}${series} ${value}`);
  }
  return `${lines.join('\n')}\n`;
}

/** What a host shows whose processes have these metrics: each series once, by the rule of its metric. */
export function mergeMetrics(processes: readonly (readonly MetricFamily[])[]): MetricFamily[] {
  const merged = new Map<string, { family: MetricFamily; values: Map<string, number> }>();
  for (const family of processes.flat()) {
    const known = merged.get(family.name) ?? { family, values: new Map<string, number>() };
    merged.set(family.name, known);
    for (const [series, value] of family.samples) {
      const before = known.values.get(series);
      known.values.set(series, before === undefined ? value : combine(family.merge, before, value));
    }
  }
  return [...merged.values()].map(({ family, values }) => ({ ...family, samples: [...values] }));
}

function combine(rule: MetricDefinition['merge'], a: number, b: number): number {
  if (rule === 'sum') return a + b;
  return rule === 'max' ? Math.max(a, b) : Math.min(a, b);
}
