import { MODULES } from '../../src/app.module.js';
import { meshFeatureOf, messagesIn } from '../../src/infrastructure/contracts/mesh-feature.js';
import { durableEvent } from '../../src/infrastructure/contracts/message.js';
import { Reconciliation } from '../../src/infrastructure/maintenance/reconciliation.js';
import { z } from 'zod';
import { TransitCompleted } from '../../src/modules/rides/contract.js';
import { startCabs, type Cabs } from '../support/cabs.js';
import { DATABASES } from '../support/databases.js';
import { JOURNEYS, nameOf, outcomeOf, playAll, prepareScenario, type Scenario } from '../support/journeys.js';
import { installLosses, lossesOf, lostTypes } from '../support/message-loss.js';
import { get, waitUntilIdle } from '../support/rest.js';
import { runConcurrently } from '../support/server.js';

/** The types of all commands and events in contracts. */
function typesIn(contracts: readonly object[]): string[] {
  return contracts.flatMap((it) => messagesIn(it).messages).map(({ type }) => type);
}

/** Without the one that no module listens to. */
const TYPES = typesIn(MODULES.map((module) => meshFeatureOf(module).contract)).filter(
  (type) => type !== TransitCompleted.type,
);

/** @throws Error for a type that no journey sends */
function assertSent(type: string, sent: ReadonlySet<string>): void {
  if (!sent.has(type)) {
    throw new Error(
      `No journey in test/support/journeys.ts sends ${type}: add one that does, so that the loss of this message is tested`,
    );
  }
}

describe.each(DATABASES)('A lost message on $kind', ({ fresh }) => {
  let cabs: Cabs;
  let scenarios: Scenario[];
  let outcomes: { name: string; outcome: object; expected: object }[];
  let lost: Set<string>;

  const reconcile = async (isDryRun = false) => {
    const [run] = await cabs.app.get(Reconciliation).run({ isDryRun, minAgeMs: 0 });
    await waitUntilIdle(cabs);
    return run!;
  };

  beforeAll(async () => {
    const database = await fresh();
    cabs = await startCabs(database, { MESH_RECONCILE_EVERY: 'PT0S', MESH_RECONCILE_PACE: '10000' });
    await installLosses(database);
    const unharmed = await runConcurrently(4, JOURNEYS.length, (n) => prepareScenario(cabs, JOURNEYS[n]!));
    await playAll(unharmed);
    const planned = await Promise.all(
      unharmed.map(async ({ journey, transit }) =>
        (await lossesOf(cabs, transit!)).map((loss) => ({ journey, losses: [loss] })),
      ),
    );
    // Once for rides with the same end; lost-pairs.db.slow.spec.ts loses all messages of all journeys.
    const plansByLoss = planned.flat().map((plan) => {
      const { type, n } = plan.losses[0]!;
      return [`${plan.journey.outcome.status} ${type} ${n}`, plan] as const;
    });
    const plans = [...new Map(plansByLoss.reverse()).values()];
    const harmed = await runConcurrently(4, plans.length, (n) =>
      prepareScenario(cabs, plans[n]!.journey, plans[n]!.losses),
    );
    scenarios = [...unharmed, ...harmed];
    await playAll(harmed);
    await reconcile();
    await playAll(harmed);
    lost = await lostTypes(cabs);
    outcomes = await Promise.all(
      scenarios.map(async (it) => ({
        name: nameOf(it),
        outcome: await outcomeOf(it),
        expected: it.journey.outcome,
      })),
    );
  });
  afterAll(() => cabs.close());

  it('is none in a journey without a loss', () => {
    expect(outcomes.slice(0, JOURNEYS.length).map(({ name, outcome }) => ({ name, outcome }))).toEqual(
      outcomes.slice(0, JOURNEYS.length).map(({ name, expected }) => ({ name, outcome: expected })),
    );
  });

  it.each(TYPES)('of the type %s is repaired by one run of the reconcile loop', (type) => {
    assertSent(type, lost);
    const concerned = outcomes.filter((_, n) => scenarios[n]!.losses.some((loss) => loss.type === type));
    expect(concerned.map(({ name, outcome }) => ({ name, outcome }))).toEqual(
      concerned.map(({ name, expected }) => ({ name, outcome: expected })),
    );
  });

  it('leaves nothing for the next run, no occupied driver and no dead letter', async () => {
    expect(await reconcile(true)).toMatchObject({ missing: {}, skipped: 0 });
    expect(await get(cabs, '/mesh/outbox')).toMatchObject({ pending: 0, deadLetters: 0 });
  });
});

it('A new message that no journey sends is named by the test', () => {
  class MeterRead extends durableEvent('cabs.planted.meter-read', z.object({})) {}
  const [type] = typesIn([{ MeterRead }]);
  expect(() => assertSent(type!, new Set(TYPES))).toThrow(
    'No journey in test/support/journeys.ts sends cabs.planted.meter-read: add one that does',
  );
});
