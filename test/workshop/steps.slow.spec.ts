import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { freePort } from '../../tools/ports.js';
import { tracesOf } from '../../workshop/lab/outcomes.js';
import { TestBed } from '../../workshop/lab/test-bed.js';
import { acceptance, ACCEPTANCE_TESTS } from '../../workshop/runner/acceptance.js';
import { ACCEPTANCE, DEMO, insertRides } from '../../workshop/runner/fixtures.js';
import { StepProcesses } from '../../workshop/runner/step-processes.js';
import { STEPS } from '../../workshop/runner/steps.js';
import { itThorough } from '../support/thorough.js';

/* Every step of the workshop, in real processes, as `npm run workshop -- start N` serves it. */

const location = async () => ({ data: mkdtempSync(join(tmpdir(), 'workshop-')), port: await freePort(20) });

describe.each(STEPS.map((step) => ({ step, name: `${step.number} ${step.title}` })))('Step $name', ({ step }) => {
  let processes: StepProcesses;

  beforeAll(async () => {
    processes = await StepProcesses.open(step, await location());
    insertRides(processes.databases, Object.values(ACCEPTANCE));
  }, 180_000);
  afterAll(() => processes?.close(), 60_000);

  it('passes the acceptance tests that all steps pass', async () => {
    expect(Object.fromEntries(await acceptance(processes.url))).toEqual({});
    expect(ACCEPTANCE_TESTS.length).toBeGreaterThan(7);
  }, 180_000);

  it('has in its databases the effects that the lab counts', () => {
    const { weekend, withoutAccount, notStarted } = ACCEPTANCE;
    const traces = tracesOf(processes.databases, [DEMO, weekend, withoutAccount, notStarted]);
    const settled = { isCompleted: true, hasFee: true, isDriverFree: true, miles: 1, invoices: 1 };
    expect(traces.get(DEMO.id)).toEqual(settled);
    expect(traces.get(weekend.id)).toEqual(settled);
    expect(traces.get(withoutAccount.id)).toEqual({ ...settled, miles: 0 });
    expect(traces.get(notStarted.id)).toEqual({
      isCompleted: false,
      hasFee: false,
      isDriverFree: false,
      miles: 0,
      invoices: 0,
    });
  });
});

describe('The acceptance tests', () => {
  it('fail for rides that are missing or completed already, and for a step that has stopped', async () => {
    const processes = await StepProcesses.open(STEPS[0]!, await location());
    try {
      // The rides of the acceptance tests are not inserted.
      const failures = await acceptance(processes.url);
      expect([...failures.keys()]).toContain(
        'a ride on a Saturday night has the weekend tariff, and a driver without a fee agreement earns 98 %',
      );
      expect([...failures.values()].join()).toContain('was answered 404');
      // The first run has completed the ride of the demo.
      expect(
        (await acceptance(processes.url)).get("the demo's ride costs 51.00, of which the driver earns 48.56"),
      ).toBe('Completing it was answered 409');
    } finally {
      await processes.close();
    }
    expect((await acceptance(processes.url)).size).toBe(ACCEPTANCE_TESTS.length);
  }, 180_000);
});

describe('The naive split', () => {
  // The lab's test counts them, too.
  itThorough.each([1, 2])(
    'makes 12 remote calls for a ride (step %i)',
    async (number) => {
      const testBed = await TestBed.open(STEPS[number]!, await location());
      try {
        await testBed.warmUp();
        expect(testBed.callsPerRide).toBe(12);
      } finally {
        await testBed.close();
      }
    },
    180_000,
  );
});
