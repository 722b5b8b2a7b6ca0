import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { parse } from 'yaml';
import { metricDefinitions } from '../../proxy-container/src/admin/metrics.ts';

const root = join(import.meta.dirname, '..', '..');
const read = (path: string): string => readFileSync(join(root, path), 'utf8');

interface Dashboard {
  readonly panels: readonly { readonly title: string; readonly targets?: readonly { readonly expr: string }[] }[];
  readonly templating: { readonly list: readonly { readonly query: string }[] };
}
interface Alerts {
  readonly groups: readonly {
    readonly rules: readonly {
      readonly alert: string;
      readonly expr: string;
      readonly annotations: Readonly<Record<string, string>>;
    }[];
  }[];
}

const definitions = new Map(metricDefinitions.map((one) => [one.name, one]));
const dashboard = JSON.parse(read('infra/deploy/monitoring/grafana-dashboard.json')) as Dashboard;
const alerts = (parse(read('infra/deploy/monitoring/alerts.yaml')) as Alerts).groups.flatMap(({ rules }) => rules);
/** Labels that Prometheus itself adds, and that of buckets. */
const FOREIGN = ['instance', 'job', 'le'];

/** Faults of an expression: metrics that there are not, and labels that the metrics in it do not have. */
function faultsOf(expr: string): string[] {
  const faults: string[] = [];
  const labels = new Set(FOREIGN);
  for (const [whole, name = '', , selector = ''] of expr.matchAll(
    /\b((?:ringshift|process|nodejs)_\w+)\s*(\{([^}]*)\})?/g,
  )) {
    const base = definitions.has(name) ? name : name.replace(/_(bucket|sum|count)$/, '');
    const found = definitions.get(base);
    if (!found || (base !== name && found.type !== 'histogram')) faults.push(`no metric ${name}`);
    else {
      for (const label of found.labels) labels.add(label);
      for (const [, label = ''] of selector.matchAll(/(\w+)\s*(?:=~|!~|!=|=)/g)) {
        if (![...found.labels, ...FOREIGN].includes(label)) faults.push(`no label ${label} in ${whole}`);
      }
      const isRate = expr.slice(0, expr.indexOf(whole)).match(/(rate|increase)\($/);
      if (isRate && found.type === 'gauge') faults.push(`${name} is a gauge`);
    }
  }
  for (const [, list = ''] of expr.matchAll(/\bby\s*\(([^)]*)\)/g)) {
    for (const label of list.split(',')) if (!labels.has(label.trim())) faults.push(`no label ${label.trim()}`);
  }
  return faults;
}

test('every panel of the dashboard asks for metrics and labels that there are', () => {
  const exprs = dashboard.panels.flatMap(({ targets = [] }) => targets.map(({ expr }) => expr));
  expect(exprs.length).toBeGreaterThan(30);
  for (const expr of exprs) expect([expr, faultsOf(expr)]).toEqual([expr, []]);
  for (const { query } of dashboard.templating.list) expect(faultsOf(query)).toEqual([]);
});

test('every alert asks for metrics and labels that there are, and says what to do', () => {
  expect(alerts.length).toBeGreaterThan(10);
  for (const { alert, expr, annotations } of alerts) {
    expect([alert, faultsOf(expr)]).toEqual([alert, []]);
    expect(annotations['summary'], alert).toBeTruthy();
    expect(annotations['description'], alert).toBeTruthy();
  }
});

test('the check itself finds wrong names, wrong labels and rates of gauges', () => {
  expect(faultsOf('rate(ringshift_nothing_total[5m])')).toEqual(['no metric ringshift_nothing_total']);
  expect(faultsOf('sum by (color) (ringshift_epoch)')).toEqual(['no label color']);
  expect(faultsOf('ringshift_epoch{color="red"}')).toEqual(['no label color in ringshift_epoch{color="red"}']);
  expect(faultsOf('rate(ringshift_epoch[5m])')).toEqual(['ringshift_epoch is a gauge']);
});

test('docs/metrics.md names every metric with its type and labels, and no other', () => {
  const rows = [
    ...read('docs/metrics.md').matchAll(/^\| `((?:ringshift|process|nodejs)_\w+)` \| (\w+) \| ([^|]*) \|/gm),
  ];
  const documented = rows.map(([, name, type, labels = '']) => [
    name,
    type,
    [...labels.matchAll(/`(\w+)`/g)].map(([, label]) => label),
  ]);
  const byName = (a: readonly unknown[], b: readonly unknown[]): number => (String(a[0]) < String(b[0]) ? -1 : 1);
  const exported = metricDefinitions.map(({ name, type, labels }) => [name, type, [...labels]]);
  expect(documented.sort(byName)).toEqual(exported.sort(byName));
});

test('documents name no metric that there is not', () => {
  for (const path of ['docs/runbook.md', 'docs/architecture.md', 'docs/metrics.md', 'docs/correctness.md']) {
    for (const [name] of read(path).matchAll(/\bringshift_[a-z_]+/g)) {
      expect([path, name, definitions.has(name) || name === 'ringshift_']).toEqual([path, name, true]);
    }
  }
});
