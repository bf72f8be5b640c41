import { tracingChannel } from 'node:diagnostics_channel';
import { Occurrence, Operation } from '../../src/infrastructure/observability/telemetry.js';
import { combined } from '../../tools/gateway/metrics.js';

const ignore = () => undefined;
const span = () => ({ name: 'test', kind: 'INTERNAL', attributes: {} }) as const;

describe('Telemetry', () => {
  it('tells the outcome, the duration and the error of an operation', async () => {
    const operation = new Operation<{ n: number; outcome?: string }>('test.operation', span);
    const ended: unknown[] = [];
    const stop = operation.onEnd(({ n, outcome }, ms, error) => ended.push([n, outcome, ms >= 0, error]));
    await operation.run({ n: 1 }, async () => 7, String);
    const failure = new Error('no');
    await expect(operation.run({ n: 2 }, () => Promise.reject(failure), String)).rejects.toBe(failure);
    stop();
    await operation.run({ n: 3 }, async () => 7, String);
    expect(ended).toEqual([
      [1, '7', true, undefined],
      [2, undefined, true, failure],
    ]);
  });

  it('is on a channel of Node, too', async () => {
    const operation = new Operation<{ n: number; outcome?: string }>('test.channel', span);
    const seen: unknown[] = [];
    const note = (name: string) => (context: object) => void seen.push([name, { ...context }]);
    const listeners = {
      start: note('start'),
      asyncEnd: note('asyncEnd'),
      end: ignore,
      asyncStart: ignore,
      error: ignore,
    };
    tracingChannel('test.channel').subscribe(listeners);
    await operation.run({ n: 1 }, async () => 7, String);
    tracingChannel('test.channel').unsubscribe(listeners);
    await operation.run({ n: 2 }, async () => 7, String);
    expect(seen).toEqual([
      ['start', { n: 1 }],
      ['asyncEnd', { n: 1, outcome: '7', result: 7 }],
    ]);
  });

  it('goes on when a listener fails', async () => {
    const occurrence = new Occurrence<{ n: number }>('test.occurrence');
    const seen: number[] = [];
    const stops = [
      occurrence.onPublish(() => {
        throw new Error('a listener');
      }),
      occurrence.onPublish(({ n }) => seen.push(n)),
    ];
    occurrence.publish({ n: 1 });
    // Node would throw the error in the next turn.
    await new Promise((resolve) => setImmediate(resolve));
    for (const stop of stops) stop();
    occurrence.publish({ n: 2 });
    expect(seen).toEqual([1]);
  });
});

it('The metrics of several processes are one text, with the process of each series', () => {
  const text = (n: number) =>
    `# HELP a of a\n# TYPE a counter\na{x="y z"} ${n}\n# HELP b of b\n# TYPE b gauge\nb ${n}\n`;
  const lines = combined([
    { name: 'rides', text: text(1) },
    { name: 'drivers', text: text(2) },
  ]);
  expect(lines).toBe(`# HELP a of a
# TYPE a counter
a{process="rides",x="y z"} 1
a{process="drivers",x="y z"} 2
# HELP b of b
# TYPE b gauge
b{process="rides"} 1
b{process="drivers"} 2
`);
});
