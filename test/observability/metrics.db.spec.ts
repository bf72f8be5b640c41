import type { AddressInfo } from 'node:net';
import { CommandBus, EventBus } from '@nestjs/cqrs';
import { Reject } from '../../src/infrastructure/contracts/message.js';
import { Metrics } from '../../src/infrastructure/maintenance/metrics.js';
import { Outbox } from '../../src/infrastructure/outbox/outbox.js';
import { UnitOfWork } from '../../src/infrastructure/persistence/unit-of-work.js';
import { eventually, startCabs } from '../support/cabs.js';
import { DATABASES } from '../support/databases.js';
import { ELSEWHERE, Happened, plant, Work, type Planted } from '../support/planted.js';

const LABELS = '{consumer="left",type="planted.left.work"';

/** The value of a series in a text of Prometheus; NaN when it isn't there. */
function valueIn(text: string, series: string): number {
  const line = text.split('\n').find((it) => it.startsWith(`${series} `));
  return Number(line?.slice(series.length + 1) ?? NaN);
}

describe.each(DATABASES)('The metrics on $kind', ({ fresh }) => {
  let planted: Planted;

  beforeEach(async () => {
    planted = await plant({ database: await fresh() }, {});
  });
  afterEach(() => planted.app.close());

  const scrape = async () => (await planted.app.get(Metrics).text()) ?? '';
  const value = async (series: string) => valueIn(await scrape(), series);
  const send = (n: number) => {
    const { app } = planted;
    return app.get(UnitOfWork).run(() => app.get(CommandBus).execute(new Work(crypto.randomUUID(), { n })));
  };
  const until = (series: string, expected: number) =>
    eventually(
      () => value(series),
      (it) => it === expected,
    );

  it('count what was added, handled, retried and given up', async () => {
    let failures = 2;
    // Runs once for each attempt.
    planted.behaviour.prepare = async ({ data: { n } }) => {
      if (n === 2 && failures-- > 0) throw new Error('not now');
    };
    planted.behaviour.work = async ({ data: { n } }) => {
      if (n === 3) throw new Reject('never');
    };
    for (const n of [1, 2, 3]) await send(n);
    await until(`mesh_messages_handled_total${LABELS},outcome="handled"}`, 2);
    await until('mesh_dead_letters', 1);
    expect(await value('mesh_messages_added_total{type="planted.left.work"}')).toBe(3);
    expect(await value(`mesh_attempts_failed_total${LABELS}}`)).toBe(3);
    expect(await value(`mesh_messages_dead_lettered_total${LABELS}}`)).toBe(1);
    expect(await value(`mesh_end_to_end_duration_seconds_count${LABELS}}`)).toBe(2);
    expect(await value(`mesh_handle_duration_seconds_count${LABELS}}`)).toBeGreaterThanOrEqual(3);
    expect(await value('mesh_pending')).toBe(0);
    expect(await value('mesh_transaction_units_count')).toBeGreaterThan(0);
  });

  it('show what waits, by consumer', async () => {
    let release = () => {};
    const released = new Promise<void>((resolve) => (release = resolve));
    planted.behaviour.prepare = () => released;
    const { app } = planted;
    await send(1);
    await app.get(UnitOfWork).run(async () => app.get(EventBus).publish(new Happened('a', { n: 1 })));
    await until('mesh_consumer_pending{consumer="right"}', 0);
    await until('mesh_consumer_pending{consumer="left"}', 1);
    release();
    await until('mesh_consumer_pending{consumer="left"}', 0);
  });

  it('have no label that a stranger can choose', async () => {
    for (let n = 0; n < 20; n++) {
      const event = { specversion: '1.0', id: `${n}`, source: ELSEWHERE, type: `type-${n}`, subject: 'secret' };
      const { app } = planted;
      await app.get(UnitOfWork).run(async () => app.get(Outbox).add(event));
    }
    await until('mesh_messages_added_total{type="other"}', 20);
    expect(await scrape()).not.toMatch(/type-\d|secret/);
  });
});

it('The application shows its metrics, with those of its requests', async () => {
  const cabs = await startCabs(await DATABASES[0]!.fresh());
  await cabs.app.listen(0, '127.0.0.1');
  const url = `http://localhost:${(cabs.app.getHttpServer().address() as AddressInfo).port}`;
  for (let n = 0; n < 3; n++) await fetch(`${url}/unknown-${n}`, { method: 'PROPFIND' });
  const read = async () => {
    const reply = await fetch(`${url}/mesh/metrics`);
    return { type: reply.headers.get('content-type'), text: await reply.text() };
  };
  const { type, text } = await eventually(read, ({ text }) => text.includes('part="mesh"'));
  expect(type).toBe('text/plain; version=0.0.4; charset=utf-8');
  expect(valueIn(text, 'mesh_http_requests_total{part="application",method="other",status="404"}')).toBe(3);
  expect(text).not.toContain('unknown-');
  expect(valueIn(text, 'process_resident_memory_bytes')).toBeGreaterThan(0);
  await cabs.close();
});
