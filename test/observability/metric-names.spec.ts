import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import * as prom from 'prom-client';
import { parse } from 'yaml';
import { countedMetrics, currentMetrics } from '../../src/infrastructure/maintenance/metric-definitions.js';
import { ROOT } from '../../tools/source.js';

/* The names in the dashboard, the alert rules and the documentation are those that exist. */

const registry = new prom.Registry();
countedMetrics(prom, registry);
currentMetrics(prom, registry);
prom.collectDefaultMetrics({ register: registry });
const metrics = await registry.getMetricsAsJSON();
const series = new Set(
  metrics.flatMap(({ name, type }) =>
    // The type of a metric is text here.
    String(type) === 'histogram' ? ['_bucket', '_sum', '_count'].map((suffix) => name + suffix) : [name],
  ),
);
const own = metrics.map(({ name }) => name).filter((it) => it.startsWith('mesh_'));
const read = (path: string) => readFileSync(join(ROOT, path), 'utf8');
const namesIn = (text: string) => [...new Set(text.match(/\b(mesh|process|nodejs)_[a-z0-9_]+/g) ?? [])];

interface Rules {
  readonly groups: { readonly rules: { readonly alert: string; readonly expr: string }[] }[];
}

it('All expressions of the dashboard and of the alert rules name series that exist', () => {
  const { panels } = JSON.parse(read('deploy/observability/grafana-dashboard.json')) as {
    panels: { targets?: { expr: string }[] }[];
  };
  const { groups } = parse(read('deploy/observability/alerts.yaml')) as Rules;
  const expressions = [
    ...panels.flatMap(({ targets = [] }) => targets.map(({ expr }) => expr)),
    ...groups.flatMap(({ rules }) => rules.map(({ expr }) => expr)),
  ];
  expect(expressions.length).toBeGreaterThan(40);
  const names = expressions.flatMap(namesIn);
  expect(names.filter((it) => !series.has(it))).toEqual([]);
  // What is measured is also shown.
  const shown = new Set(names.map((it) => it.replace(/_(bucket|sum|count)$/, '')));
  expect(own.filter((it) => !shown.has(it))).toEqual([]);
});

it('The documentation lists all metrics of the mesh, and no other', () => {
  const documented = namesIn(read('docs/observability.md')).filter((it) => it.startsWith('mesh_'));
  expect(documented.sort()).toEqual(own.sort());
});

it('Metrics have no labels but those with few values', async () => {
  const labels = ['consumer', 'type', 'outcome', 'part', 'method', 'status', 'module', 'resource'];
  for (const name of own) {
    const { labelNames } = registry.getSingleMetric(name) as unknown as { labelNames: string[] };
    expect(labels).toEqual(expect.arrayContaining(labelNames));
  }
});

/** The command line of Prometheus, where it is installed. */
const PROMTOOL = ['/usr/bin/promtool', '/usr/local/bin/promtool'].find((it) => existsSync(it));
if (!PROMTOOL) console.log('promtool is not installed: the alert rules are not checked by it.');

(PROMTOOL ? it : it.skip)('The alert rules are valid for Prometheus itself', () => {
  const { stdout, stderr, status } = spawnSync(PROMTOOL!, ['check', 'rules', 'deploy/observability/alerts.yaml'], {
    cwd: ROOT,
    encoding: 'utf8',
  });
  expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
  expect(stdout).toMatch(/SUCCESS: \d+ rules found/);
});
