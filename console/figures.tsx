import { Chart } from './chart';
import { count, duration } from './format';
import type { OutboxState } from './mesh-types';
import { hashOf } from './route';
import type { Second } from './second';

interface Figure {
  readonly title: string;
  readonly meaning: string;
  readonly of: (outbox: OutboxState) => number;
  readonly format: (value: number) => string;
  readonly color: string;
  /** From this value on the figure is a sign of trouble. */
  readonly limit: number;
}

const FIGURES: readonly Figure[] = [
  {
    title: 'Pending',
    meaning: 'not handled yet',
    of: ({ pending }) => pending,
    format: count,
    color: '--line-1',
    limit: Infinity,
  },
  {
    title: 'Ready',
    meaning: 'could be handled now',
    of: ({ ready }) => ready,
    format: count,
    color: '--line-1',
    limit: Infinity,
  },
  {
    title: 'Retrying',
    meaning: 'wait for the next attempt',
    of: ({ retrying }) => retrying,
    format: count,
    color: '--line-3',
    limit: 1,
  },
  {
    title: 'Dead letters',
    meaning: 'failed for good',
    of: ({ deadLetters }) => deadLetters,
    format: count,
    color: '--line-4',
    limit: 1,
  },
  {
    title: 'Lag',
    meaning: 'of the oldest message',
    of: ({ lagMs }) => lagMs,
    format: duration,
    color: '--line-2',
    limit: 5000,
  },
];

export function Figures({ seconds }: { seconds: readonly Second[] }) {
  const outbox = seconds.at(-1)?.outbox;
  const times = seconds.map(({ at }) => at);
  return (
    <section aria-label="Messages now">
      {seconds.length > 0 && !outbox && <p class="banner bad">✕ The database can’t be read at the moment.</p>}
      <ul class="figures">
        {FIGURES.map(({ title, meaning, of, format, color, limit }) => {
          const value = outbox && of(outbox);
          const isBad = value !== undefined && value >= limit;
          return (
            <li key={title} class={isBad ? 'card figure alarm' : 'card figure'}>
              <h2>{title === 'Dead letters' ? <a href={hashOf('dead-letters')}>{title}</a> : title}</h2>
              <p class="value">
                {isBad && <span class="sign">▲ </span>}
                {value === undefined ? '–' : format(value)}
              </p>
              <p class="meaning">{meaning}</p>
              <Chart
                isPlain
                label={`${title} in the last two minutes`}
                height={44}
                times={times}
                lines={[{ color, dash: [], isFilled: true, values: seconds.map((it) => it.outbox && of(it.outbox)) }]}
              />
            </li>
          );
        })}
      </ul>
    </section>
  );
}
