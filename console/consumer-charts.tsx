import { Chart } from './chart';
import { count, duration, rate } from './format';
import { lineStyle, Swatch } from './line-style';
import type { Second } from './second';

/** Lines of a chart; more of them can't be told apart. */
const MAX_LINES = 12;

export function ConsumerCharts({ seconds }: { seconds: readonly Second[] }) {
  const last = seconds.at(-1);
  const names = namesIn(seconds);
  const times = seconds.map(({ at }) => at);
  const shown = names.slice(0, MAX_LINES);
  const linesOf = (of: (second: Second, name: string) => number | null | undefined, width: number) =>
    shown.map((name, index) => ({ ...lineStyle(index), width, values: seconds.map((second) => of(second, name)) }));
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
            // A logarithm has no 0.
            lines={[
              ...linesOf((second, name) => atLeast1(second.consumers.get(name)?.p50Ms), 1),
              ...linesOf((second, name) => atLeast1(second.consumers.get(name)?.p99Ms), 2.5),
            ]}
          />
        </figure>
      </div>
      <div class="scroll">
        <table>
          <caption>Each consumer in the last second</caption>
          <thead>
            <tr>
              <th scope="col">Consumer</th>
              {['Pending', 'Handled', 'Failed', 'p50', 'p99'].map((title) => (
                <th key={title} scope="col" class="number">
                  {title}
                </th>
              ))}
            </tr>
          </thead>
          <tbody>
            {names.map((name, index) => {
              const now = last?.consumers.get(name);
              return (
                <tr key={name}>
                  <th scope="row">
                    {index < MAX_LINES && <Swatch index={index} />} {name}
                  </th>
                  <td class="number">{count(last?.outbox?.consumers[name] ?? 0)}</td>
                  <td class="number">{rate(now?.handled ?? 0)}</td>
                  <td class={now?.failed ? 'number bad' : 'number'}>{now?.failed ? `✕ ${rate(now.failed)}` : '0'}</td>
                  <td class="number">{duration(now?.p50Ms)}</td>
                  <td class="number">{duration(now?.p99Ms)}</td>
                </tr>
              );
            })}
          </tbody>
        </table>
      </div>
    </section>
  );
}

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
