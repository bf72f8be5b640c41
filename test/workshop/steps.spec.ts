import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { freePort } from '../../tools/ports.js';
import { Bench } from '../../workshop/lab/bench.js';
import { acceptance, ACCEPTANCE_TESTS } from '../../workshop/runner/acceptance.js';
import { House } from '../../workshop/runner/step-processes.js';
import { ACCEPTANCE, DEMO, putUnderWay } from '../../workshop/runner/fixtures.js';
import { STEPS } from '../../workshop/runner/steps.js';
import { tracesOf } from '../../workshop/lab/outcomes.js';

/* Every step of the workshop, in real processes, as `npm run workshop -- start N` serves it. */

const place = async () => ({ data: mkdtempSync(join(tmpdir(), 'workshop-')), port: await freePort(20) });

describe.each(STEPS.map((step) => ({ step, name: `${step.number} ${step.title}` })))('Step $name', ({ step }) => {
  let house: House;

  beforeAll(async () => {
    house = await House.open(step, await place());
    putUnderWay(house.ledgers, Object.values(ACCEPTANCE));
  }, 90_000);
  afterAll(() => house?.close(), 30_000);

  it('passes the acceptance tests that all steps pass', async () => {
    expect(Object.fromEntries(await acceptance(house.url))).toEqual({});
    expect(ACCEPTANCE_TESTS.length).toBeGreaterThan(7);
  }, 90_000);

  it('leaves in its databases what the lab counts', () => {
    const { weekend, withoutAccount, notStarted } = ACCEPTANCE;
    const traces = tracesOf(house.ledgers, [DEMO, weekend, withoutAccount, notStarted]);
    const whole = { isCompleted: true, hasFee: true, isDriverFree: true, miles: 1, invoices: 1 };
    expect(traces.get(DEMO.id)).toEqual(whole);
    expect(traces.get(weekend.id)).toEqual(whole);
    expect(traces.get(withoutAccount.id)).toEqual({ ...whole, miles: 0 });
    expect(traces.get(notStarted.id)).toEqual({
      ...{ isCompleted: false, hasFee: false, isDriverFree: false, miles: 0, invoices: 0 },
    });
  });
});

describe('The acceptance tests', () => {
  it('see what is wrong: rides that are over already, and then an application that has gone', async () => {
    const house = await House.open(STEPS[0]!, await place());
    try {
      // Nobody has put under way the rides that they need.
      const failures = await acceptance(house.url);
      expect([...failures.keys()]).toContain(
        'a ride on a Saturday night has its tariff, and a driver without an agreement earns 98 %',
      );
      expect([...failures.values()].join()).toContain('was answered 404');
      // That of the demo has been completed by now.
      expect((await acceptance(house.url)).get("the demo's ride costs 51.00, of which the driver earns 48.56")).toBe(
        'Completing it was answered 409',
      );
    } finally {
      await house.close();
    }
    expect((await acceptance(house.url)).size).toBe(ACCEPTANCE_TESTS.length);
  }, 60_000);
});

describe('The naive split', () => {
  it.each([1, 2])(
    'makes 12 remote calls for a ride (step %i)',
    async (number) => {
      const bench = await Bench.open(STEPS[number]!, await place());
      try {
        await bench.warmUp();
        expect(bench.callsPerRide).toBe(12);
      } finally {
        await bench.close();
      }
    },
    60_000,
  );
});
