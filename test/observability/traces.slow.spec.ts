import { join } from 'node:path';
import { DEMO_RIDE, REACHED } from '../../src/demo.js';
import { ROOT } from '../../tools/source.js';
import { eventually } from '../support/cabs.js';
import { DATABASES } from '../support/databases.js';
import { startCollector, type CollectedSpan } from '../support/otlp-collector.js';
import { Deployment } from '../support/processes.js';
import { call } from '../support/server.js';
import { ROUTES } from '../support/transports.js';

/** No module subscribes to it. */
const UNHEARD = 'cabs.rides.transit-completed';
/** Kinds of spans on the wire. */
const [SERVER, PRODUCER, CONSUMER] = [2, 4, 5];

describe.each(ROUTES)('The trace of a ride, $route', (route) => {
  let collector: Awaited<ReturnType<typeof startCollector>>;
  let cabs: Deployment;

  beforeAll(async () => {
    collector = await startCollector();
    cabs = await new Deployment(route, DATABASES[0]!.fresh, {
      SEED: 'demo',
      LOG_LEVEL: 'warn',
      NODE_OPTIONS: `--import ${join(ROOT, 'test/support/opentelemetry.mjs')}`,
      OTEL_EXPORTER_OTLP_ENDPOINT: collector.url,
    }).start();
  });
  afterAll(async () => {
    await cabs?.stop();
    collector.close();
  });

  it('has one root, the request, and every message below it', async () => {
    await cabs.record();
    expect((await call('POST', `${cabs.url}/transits/${DEMO_RIDE}/complete`, REACHED)).status).toBe(202);
    await cabs.idle();
    const messages = await cabs.recorded();
    expect(messages.length).toBeGreaterThan(8);
    const traceIds = new Set(messages.map(({ traceparent }) => String(traceparent).split('-')[1]));
    expect(traceIds.size).toBe(1);
    const ofRide = () => collector.spans.filter(({ traceId }) => traceIds.has(traceId));
    const named = (spans: CollectedSpan[], step: string) => spans.filter(({ name }) => name.startsWith(`${step} `));
    // Spans are exported when they have ended, one by one.
    const spans = await eventually(
      async () => ofRide(),
      (all) => named(all, 'process').length >= messages.length - 1 && orphansOf(all).length === 1,
    );
    const [root] = orphansOf(spans);
    expect(root).toMatchObject({ name: 'POST', kind: SERVER, attributes: { 'http.response.status_code': 202 } });
    for (const { id, type, traceparent } of messages) {
      const about = spans.filter(({ attributes }) => attributes['messaging.message.id'] === id);
      const created = about.find(({ name }) => name === `create ${type}`)!;
      expect(created).toMatchObject({ kind: PRODUCER, attributes: { 'cloudevents.event_type': type } });
      expect(traceparent).toBe(`00-${created.traceId}-${created.spanId}-01`);
      expect(about.some(({ name }) => name === `send ${type}`)).toBe(route.transport !== 'in-process');
      if (type === UNHEARD) continue;
      expect(about.find(({ name }) => name === `process ${type}`)).toMatchObject({ kind: CONSUMER });
      expect(about.some(({ name }) => name === `handle ${type}`)).toBe(true);
    }
    // What a handler sends is below it.
    const handled = spans.find(({ name }) => name === 'handle cabs.rides.complete-transit')!;
    const caused = spans.filter(({ parentSpanId }) => parentSpanId === handled.spanId).map(({ name }) => name);
    expect(caused).toEqual(expect.arrayContaining(['create cabs.geolocation.update-destination']));
  }, 120_000);
});

/** The spans whose parent was not collected. */
function orphansOf(spans: readonly CollectedSpan[]): CollectedSpan[] {
  const ids = new Set(spans.map(({ spanId }) => spanId));
  return spans.filter(({ parentSpanId }) => !parentSpanId || !ids.has(parentSpanId));
}
