import type { Aggregator } from './aggregator.js';
import { sendText, type Exchange } from './answers.js';

/** The metrics of all processes that answer, each series with the label `process`. */
export async function sendMetrics(to: Exchange, aggregator: Aggregator): Promise<void> {
  const { services } = aggregator.upstreams;
  const texts = await Promise.all(services.map((it) => aggregator.text(it, `/mesh/metrics?${to.query}`)));
  const each = services.flatMap(({ name }, index) => {
    const text = texts[index];
    return text === undefined ? [] : [{ name, text }];
  });
  sendText(to, 'text/plain; version=0.0.4; charset=utf-8', combined(each));
}

/** Prometheus wants all series of a metric together, behind its description. */
export function combined(metrics: readonly { readonly name: string; readonly text: string }[]): string {
  const blocks = new Map<string, { readonly description: string[]; readonly series: string[] }>();
  for (const { name, text } of metrics) {
    let block = { description: [] as string[], series: [] as string[] };
    for (const line of text.split('\n').filter(Boolean)) {
      const described = /^# HELP (\S+)/.exec(line)?.[1];
      if (described !== undefined) {
        block = blocks.get(described) ?? { description: [], series: [] };
        blocks.set(described, block);
      }
      if (!line.startsWith('#')) block.series.push(labelled(line, name));
      else if (!block.description.includes(line)) block.description.push(line);
    }
  }
  const lines = [...blocks.values()].flatMap(({ description, series }) => [...description, ...series]);
  return `${lines.join('\n')}\n`;
}

function labelled(line: string, process: string): string {
  const label = `process="${process}"`;
  return line.includes('{') ? line.replace('{', `{${label},`) : line.replace(' ', `{${label}} `);
}
