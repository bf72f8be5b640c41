import { execFile } from 'node:child_process';
import { setTimeout as wait } from 'node:timers/promises';
import { promisify } from 'node:util';
import { DEMO_RIDE, REACHED as ZYTNIA_32 } from '../../src/demo.js';
import type { CloudEvent } from '../../src/infrastructure/cloudevents/cloud-event.js';
import { HTTP } from '../../src/infrastructure/cloudevents/http-binding.js';
import { eventually } from '../support/cabs.js';
import { DATABASES } from '../support/databases.js';
import { Deployment, effectsIn } from '../support/processes.js';
import { ROOT } from '../../tools/source.js';
import { atOnce, call, prepareRides, REACHED } from '../support/server.js';
import { TRANSPORTS } from '../support/transports.js';

interface Ride {
  readonly status: string;
  readonly price?: number;
  readonly driverFee?: number;
  readonly settlement?: Record<string, string>;
  readonly settlementSince?: string;
}

const ALL_SETTLED = { driverFee: 'settled', driverFreed: 'settled', miles: 'settled', invoice: 'settled' };
const RIDES = 40;
/** Those that there are of them: one of each part that a process can play in the settlement of a ride. */
const KILLED = ['cabs', 'broker', 'rides', 'drivers'];

describe.each(DATABASES)('The application in real processes on $kind', ({ kind, fresh }) => {
  /** What the demo's ride makes modules send, on the first transport. */
  let expected: object[] | undefined;

  // Nine processes once: that modules apart get along on PostgreSQL is seen in transports.db.spec.ts.
  const transports = TRANSPORTS.filter((it) => it !== 'split' || kind === 'sqlite');
  describe.each(transports.map((transport) => ({ transport })))('$transport', ({ transport }) => {
    let cabs: Deployment;

    beforeAll(async () => {
      cabs = await new Deployment(transport, fresh, { SEED: 'demo', LOG_LEVEL: 'warn' }).start();
    }, 120_000);
    afterAll(() => cabs?.stop(), 60_000);

    const read = async (ride: string) => (await call<Ride>('GET', `${cabs.url}/transits/${ride}`)).body;
    const settled = (ride: string) =>
      eventually(
        () => read(ride),
        ({ status, settlementSince }) => status === 'COMPLETED' && !settlementSince,
        30_000,
      );

    it("settles the demo's ride at 5100 and 4856, and sends the same CloudEvents as on every transport", async () => {
      await cabs.record();
      const headers = { 'x-correlation-id': 'the-scenario' };
      const reply = await call<Ride>('POST', `${cabs.url}/transits/${DEMO_RIDE}/complete`, ZYTNIA_32, headers);
      expect(reply.status).toBe(202);
      const ride = await settled(DEMO_RIDE);
      expect(ride).toMatchObject({ price: 5100, driverFee: 4856, settlement: ALL_SETTLED });
      await cabs.idle();
      const invoices = await call<object[]>('GET', `${cabs.url}/invoices?transitId=${DEMO_RIDE}`);
      expect(invoices.body).toMatchObject([{ amount: 5100, subjectName: 'John Doe' }]);
      expect((await call('GET', `${cabs.url}/clients/1/awards`)).body).toMatchObject({ balance: 10, transactions: 1 });
      expect((await call('GET', `${cabs.url}/drivers/1993432552`)).body).toMatchObject({ occupied: false });

      const sent = await cabs.recorded();
      const comparable = withoutIdsAndTimes(sent);
      expect(comparable).toHaveLength(12);
      expected ??= comparable;
      expect(comparable).toEqual(expected);
      if (transport !== 'in-process') await expectOnTheWire(sent);
    }, 60_000);

    /** The broker has accepted each of them once, attribute by attribute as it was sent. */
    async function expectOnTheWire(sent: CloudEvent[]): Promise<void> {
      const accepted = new Map((await cabs.accepted()).map((event) => [event.id, event]));
      expect(accepted.size).toBe(sent.length);
      for (const event of sent) {
        const { 'content-type': datacontenttype, 'ce-time': time, ...headers } = HTTP.binary(event).headers;
        const attributes = Object.entries(headers).map(([name, value]) => [name.replace(/^ce-/, ''), value]);
        const found = accepted.get(event.id);
        expect(found).toMatchObject({ ...Object.fromEntries(attributes), datacontenttype });
        // Knative leaves out the zeros at the end of a fraction.
        expect(Date.parse(found!.time!)).toBe(Date.parse(time!));
      }
    }

    if (transport !== 'in-process') {
      it('shows, replays and discards what the relay gave up and what the mesh gave up in the same place', async () => {
        const places = transport === 'split' ? [cabs.url] : [cabs.url, cabs.members.get('dead-letters')!.url];
        const cli = async (...words: string[]) => {
          const all = [
            '--import',
            'tsx',
            'tools/dead-letters.ts',
            ...words,
            ...places.flatMap((url) => ['--url', url]),
          ];
          return (await promisify(execFile)(process.execPath, all, { cwd: ROOT, encoding: 'utf8' })).stdout;
        };
        const event = {
          ...{ specversion: '1.0' as const, source: 'usvc://cabs/rides', type: 'cabs.drivers.calculate-fee' },
          ...{ datacontenttype: 'application/json', subject: DEMO_RIDE },
        };
        // The consumer refuses this one; the broker is said to have refused the other one.
        const bad = { ...event, id: 'refused-by-drivers', data: { 'driver-id': 'nobody' } };
        const { headers, body } = HTTP.binary(bad);
        const sink = `${cabs.members.get('broker')!.url}/cabs/default`;
        expect((await fetch(sink, { method: 'POST', headers, body: String(body) })).status).toBe(202);
        const good = {
          ...event,
          id: 'refused-by-the-broker',
          data: { 'driver-id': 1993432552, 'transit-price': 5100 },
        };
        await cabs.bury(transport === 'split' ? 'rides' : 'cabs', good);

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
        // It went by the broker to drivers, who answered it with the fee that they had recorded.
        const answers = (await cabs.recorded()).filter(({ causationid }) => causationid === good.id);
        expect(answers).toMatchObject([{ type: 'cabs.drivers.driver-fee', data: { fee: 4856 } }]);
      }, 60_000);
    }

    it('kill -9 of its processes under load, the broker included, and everything settles, once', async () => {
      const before = await effectsIn(cabs.moduleDatabases);
      const rides = await prepareRides(cabs.url, RIDES);
      await cabs.idle();
      const complete = async (ride: string) => {
        for (;;) {
          const isAccepted = await call('POST', `${cabs.url}/transits/${ride}/complete`, REACHED).then(
            () => true,
            () => false,
          );
          if (isAccepted) return;
          await wait(30); // not answered: the user tries again, as users do
        }
      };
      const load = atOnce(8, RIDES, async (index) => {
        await wait(index * 15);
        await complete(rides[index]!);
      });
      for (const name of KILLED.filter((it) => cabs.members.has(it))) {
        await wait(20 + Math.random() * 80);
        await cabs.killAndRestart(name);
      }
      await load;
      for (const ride of rides) await settled(ride);
      expect(await cabs.idle(30_000)).toMatchObject({ deadLetters: 0 });
      const after = await effectsIn(cabs.moduleDatabases);
      expect(Object.fromEntries(Object.entries(after).map(([what, n]) => [what, n - before[what]!]))).toEqual({
        ...{ invoices: RIDES, fees: RIDES, miles: RIDES, transactions: RIDES, occupied: 0 },
      });
    }, 180_000);
  });
});

/** Events as they are comparable from run to run: what is made anew each time is left out, or told by its role. */
function withoutIdsAndTimes(events: readonly CloudEvent[]): object[] {
  const typeOf = new Map(events.map(({ id, type }) => [id, type]));
  return events
    .map(({ id: _, time: __, traceparent, causationid, data, ...event }) => ({
      ...event,
      causationid: causationid && (typeOf.get(causationid as string) ?? 'not among them'),
      traceparent: /^00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$/.test((traceparent ?? '') as string),
      data: JSON.parse(
        JSON.stringify(data).replace(/"(invoice-id|completed-at)":"[^"]+"/g, '"$1":"made anew"'),
      ) as unknown,
    }))
    .sort((a, b) => (a.type < b.type ? -1 : 1));
}
