import { execFile } from 'node:child_process';
import { TransitCompleted } from '../../src/modules/rides/contract.js';
import { setTimeout as wait } from 'node:timers/promises';
import { promisify } from 'node:util';
import { DEMO_RIDE, REACHED as ZYTNIA_32 } from '../../src/demo.js';
import type { CloudEvent } from '../../src/infrastructure/cloudevents/cloud-event.js';
import { HTTP } from '../../src/infrastructure/cloudevents/http-binding.js';
import { eventually } from '../support/cabs.js';
import { DATABASES } from '../support/databases.js';
import { Deployment, effectsIn } from '../support/processes.js';
import { ROOT } from '../../tools/source.js';
import { call, prepareRides, REACHED, runConcurrently } from '../support/server.js';
import { selected } from '../support/thorough.js';
import { ROUTES } from '../support/transports.js';

interface Transit {
  readonly status: string;
  readonly price?: number;
  readonly driverFee?: number;
  readonly settlement?: Record<string, string>;
  readonly settlementSince?: string;
}

const ALL_SETTLED = { driverFee: 'settled', driverFreed: 'settled', miles: 'settled', invoice: 'settled' };
const TRANSITS = 40;
/** Killed where the transport has them: one process for each role in the settlement of a transit. */
const KILLED = ['cabs', 'broker', 'rides', 'drivers'];

describe.each(selected(DATABASES, ({ kind }) => kind === 'sqlite'))(
  'The application in real processes on $kind',
  ({ fresh }) => {
    /** The messages of the demo's transit on the first transport. */
    let expected: object[] | undefined;

    // The fault rig's test kills processes over both channels with one application.
    const routes = selected(ROUTES, ({ transport }) => transport !== 'knative');
    describe.each(routes)('$route', (route) => {
      const { transport } = route;
      let cabs: Deployment;

      beforeAll(async () => {
        cabs = await new Deployment(route, fresh, { SEED: 'demo', LOG_LEVEL: 'warn' }).start();
      });
      afterAll(() => cabs?.stop());

      const read = async (transit: string) => (await call<Transit>('GET', `${cabs.url}/transits/${transit}`)).body;
      const settled = (transit: string) =>
        eventually(
          () => read(transit),
          ({ status, settlementSince }) => status === 'COMPLETED' && !settlementSince,
        );

      it("settles the demo's transit with price 5100 and driver fee 4856, and sends the same CloudEvents as every transport", async () => {
        await cabs.record();
        const headers = { 'x-correlation-id': 'the-scenario' };
        const reply = await call<Transit>('POST', `${cabs.url}/transits/${DEMO_RIDE}/complete`, ZYTNIA_32, headers);
        expect(reply.status).toBe(202);
        const transit = await settled(DEMO_RIDE);
        expect(transit).toMatchObject({ price: 5100, driverFee: 4856, settlement: ALL_SETTLED });
        await cabs.idle();
        const invoices = await call<object[]>('GET', `${cabs.url}/invoices?transitId=${DEMO_RIDE}`);
        expect(invoices.body).toMatchObject([{ amount: 5100, subjectName: 'John Doe' }]);
        expect((await call('GET', `${cabs.url}/clients/1/awards`)).body).toMatchObject({
          balance: 10,
          transactions: 1,
        });
        expect((await call('GET', `${cabs.url}/drivers/1993432552`)).body).toMatchObject({ occupied: false });

        const sent = await cabs.recorded();
        // No module listens to TransitCompleted: it leaves the process by a broker only.
        const isForBrokers = ({ type }: CloudEvent) => type === TransitCompleted.type;
        expect(sent.filter(isForBrokers)).toHaveLength(transport === 'in-process' ? 0 : 1);
        const comparable = withoutIdsAndTimes(sent.filter((it) => !isForBrokers(it)));
        expect(comparable).toHaveLength(11);
        expected ??= comparable;
        expect(comparable).toEqual(expected);
        if (transport !== 'in-process') expectOnTheWire(sent);
      });

      /** Expects that the broker forwarded each event with the attributes that were sent. */
      function expectOnTheWire(sent: CloudEvent[]): void {
        const forwarded = new Map(cabs.forwarded.map((headers) => [headers['ce-id'], headers]));
        expect(forwarded.size).toBe(sent.length);
        for (const event of sent) {
          const { 'ce-time': time, ...headers } = HTTP.binary(event).headers;
          const found = forwarded.get(event.id);
          expect(found).toMatchObject(headers);
          // Knative drops trailing zeros of a fraction.
          expect(Date.parse(found!['ce-time']!)).toBe(Date.parse(String(time)));
        }
      }

      if (transport !== 'in-process') {
        it('lists, replays and discards dead letters of the relay and of the broker with one command', async () => {
          const urls = transport === 'split' ? [cabs.url] : [cabs.url, cabs.services.get('dead-letters')!.url];
          const cli = async (...args: string[]) => {
            const all = [
              '--import',
              'tsx',
              'tools/meshy.ts',
              'dead-letters',
              ...args,
              ...urls.flatMap((url) => ['--url', url]),
            ];
            return (await promisify(execFile)(process.execPath, all, { cwd: ROOT, encoding: 'utf8' })).stdout;
          };
          const event = {
            specversion: '1.0' as const,
            source: 'usvc://cabs/rides',
            type: 'cabs.drivers.calculate-fee',
            datacontenttype: 'application/json',
            subject: DEMO_RIDE,
          };
          // The consumer rejects the first event. The second is inserted as a dead letter, as if the broker had rejected it.
          const bad = { ...event, id: 'refused-by-drivers', data: { 'driver-id': 'none' } };
          const { headers, body } = HTTP.binary(bad);
          const sink = `${cabs.services.get('broker')!.url}/cabs/default`;
          const posted = await fetch(sink, { method: 'POST', headers, body: String(body) });
          // Also over a synchronous channel: the event went to the dead letter sink.
          expect(posted.status).toBe(202);
          const good = {
            ...event,
            id: 'refused-by-the-broker',
            data: { 'driver-id': 1993432552, 'transit-price': 5100 },
          };
          await cabs.insertDeadLetter(transport === 'split' ? 'rides' : 'cabs', good);

          const list = await eventually(
            () => cli('list'),
            (text) => text.includes('2 in all.'),
          );
          expect(list).toMatch(/ drivers {2}cabs\.drivers\.calculate-fee .* given up by the broker\n/);
          expect(list).toMatch(/ k-sink {2}cabs\.drivers\.calculate-fee .* after 1 tries\n/);
          const idOf = (consumer: string) =>
            list
              .split('\n')
              .find((line) => line.includes(`  ${consumer}  `))!
              .slice(0, 36);
          expect(await cli('show', idOf('drivers'))).toContain('HTTP 422');
          expect(await cli('replay', idOf('k-sink'))).toContain('Replayed: 1');
          expect(await cli('discard', idOf('drivers'))).toContain('Discarded');
          await cabs.idle();
          expect(await cli('list')).toContain('No dead letters.');
          // The broker delivered it to drivers, which answered with the fee that it had recorded.
          const answers = (await cabs.recorded()).filter(({ causationid }) => causationid === good.id);
          expect(answers).toMatchObject([{ type: 'cabs.drivers.driver-fee', data: { fee: 4856 } }]);
        });
      }

      it('settles every transit once when its processes and the broker are killed under load', async () => {
        const before = await effectsIn(cabs.moduleDatabases);
        const transits = await prepareRides(cabs.url, TRANSITS);
        await cabs.idle();
        const complete = async (transit: string) => {
          for (;;) {
            const isAccepted = await call('POST', `${cabs.url}/transits/${transit}/complete`, REACHED).then(
              () => true,
              () => false,
            );
            if (isAccepted) return;
            await wait(30); // without a response, users try again
          }
        };
        const load = runConcurrently(8, TRANSITS, async (index) => {
          await wait(index * 15);
          await complete(transits[index]!);
        });
        for (const name of KILLED.filter((it) => cabs.services.has(it))) {
          await wait(20 + Math.random() * 80);
          await cabs.killAndRestart(name);
        }
        await load;
        for (const transit of transits) await settled(transit);
        expect(await cabs.idle()).toMatchObject({ deadLetters: 0 });
        const after = await effectsIn(cabs.moduleDatabases);
        expect(Object.fromEntries(Object.entries(after).map(([effect, n]) => [effect, n - before[effect]!]))).toEqual({
          invoices: TRANSITS,
          fees: TRANSITS,
          miles: TRANSITS,
          transactions: TRANSITS,
          occupied: 0,
        });
      }, 180_000);
    });
  },
);

/** Events in a form that is the same in each run: ids and times are removed or replaced by their role. */
function withoutIdsAndTimes(events: readonly CloudEvent[]): object[] {
  const typeOf = new Map(events.map(({ id, type }) => [id, type]));
  return events
    .map(({ id: _, time: __, traceparent, causationid, data, ...event }) => ({
      ...event,
      causationid: causationid && (typeOf.get(causationid as string) ?? 'unknown'),
      traceparent: /^00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$/.test((traceparent ?? '') as string),
      data: JSON.parse(
        JSON.stringify(data).replace(/"(invoice-id|completed-at)":"[^"]+"/g, '"$1":"generated"'),
      ) as unknown,
    }))
    .sort((a, b) => (a.type < b.type ? -1 : 1));
}
