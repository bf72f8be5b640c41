import { Chart } from './chart';
import { DataTable } from './data-table';
import { count, duration, rate } from './format';
import { lineStyle, Swatch } from './line-style';
import type { Second } from './second';

/** Lines of a chart; more of them can't be told apart. */
const MAX_LINES = 12;

export function ConsumerCharts({ seconds }: { seconds: readonly Second[] }) {
  const names = namesIn(seconds);
  const times = seconds.map(({ at }) => at);
  const linesOf = (of: (second: Second, name: string) => number | null | undefined, width: number) =>
    names
      .slice(0, MAX_LINES)
      .map((name, index) => ({ ...lineStyle(index), width, values: seconds.map((second) => of(second, name)) }));
  return (
    <section class="card" aria-labelledby="consumers">
      <h2 id="consumers">Consumers</h2>
      <div class="charts">
        <figure>
          <figcaption>Handled in a second</figcaption>
          <Chart
            label="Messages handled in a second by each consumer, in the last two minutes; the table has the figures"
            height={220}
            times={times}
            format={count}
            lines={linesOf((second, name) => second.consumers.get(name)?.handled ?? 0, 2.5)}
          />
        </figure>
        <figure>
          <figcaption>From created to handled: p50 (thin) and p99 (thick)</figcaption>
          <Chart
            label="Median and 99th percentile of the time from created to handled at each consumer; the table has the figures"
            height={220}
            times={times}
            isLogarithmic
            format={duration}
            lines={[
              ...linesOf((second, name) => atLeast1(second.consumers.get(name)?.p50Ms), 1),
              ...linesOf((second, name) => atLeast1(second.consumers.get(name)?.p99Ms), 2.5),
            ]}
          />
        </figure>
      </div>
      <ConsumerTable names={names} second={seconds.at(-1)} />
    </section>
  );
}

function ConsumerTable({ names, second }: { names: readonly string[]; second?: Second }) {
  const figures = (name: string) => second?.consumers.get(name);
  return (
    <DataTable
      caption="Each consumer in the last second"
      rows={names}
      keyOf={(name) => name}
      columns={[
        {
          title: 'Consumer',
          cell: (name, index) => (
            <>
              {index < MAX_LINES && <Swatch index={index} />} {name}
            </>
          ),
        },
        { title: 'Pending', isNumber: true, cell: (name) => count(second?.outbox?.consumers[name] ?? 0) },
        { title: 'Handled', isNumber: true, cell: (name) => rate(figures(name)?.handled ?? 0) },
        { title: 'Failed', isNumber: true, cell: (name) => <Failed n={figures(name)?.failed ?? 0} /> },
        { title: 'p50', isNumber: true, cell: (name) => duration(figures(name)?.p50Ms) },
        { title: 'p99', isNumber: true, cell: (name) => duration(figures(name)?.p99Ms) },
      ]}
    />
  );
}

const Failed = ({ n }: { n: number }) => (n > 0 ? <span class="bad">✕ {rate(n)}</span> : <>0</>);

/** A logarithm has no 0. */
const atLeast1 = (ms: number | null | undefined) => (typeof ms === 'number' ? Math.max(ms, 1) : ms);

/** The consumers of the last two minutes, by name, so that a line keeps its colour. */
function namesIn(seconds: readonly Second[]): string[] {
  const names = new Set<string>();
  for (const { consumers, outbox } of seconds) {
    for (const name of consumers.keys()) names.add(name);
    for (const name of Object.keys(outbox?.consumers ?? {})) names.add(name);
  }
  return [...names].sort();
}
