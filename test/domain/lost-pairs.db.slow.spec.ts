import { Reconciliation } from '../../src/infrastructure/maintenance/reconciliation.js';
import { startCabs, type Cabs } from '../support/cabs.js';
import { JOURNEYS, nameOf, outcomeOf, playAll, prepareScenario } from '../support/journeys.js';
import { installLosses, lossesOf } from '../support/message-loss.js';
import { get, waitUntilIdle } from '../support/rest.js';
import { runConcurrently } from '../support/server.js';
import { ONE_DATABASE, selected } from '../support/thorough.js';

describe.each(ONE_DATABASE)('Two lost messages on $kind', ({ kind, fresh }) => {
  let cabs: Cabs;

  beforeAll(async () => {
    const database = await fresh();
    cabs = await startCabs(database, { MESH_RECONCILE_EVERY: 'PT0S', MESH_RECONCILE_PACE: '10000' });
    await installLosses(database);
  });
  afterAll(() => cabs.close());

  const reconcile = async (isDryRun = false) => {
    const [run] = await cabs.app.get(Reconciliation).run({ isDryRun, minAgeMs: 0 });
    await waitUntilIdle(cabs);
    return run!;
  };

  it.each(JOURNEYS)(
    'of $name, in all pairs, are repaired by two runs of the reconcile loop',
    async (journey) => {
      const unharmed = await prepareScenario(cabs, journey);
      await playAll([unharmed]);
      const losses = await lossesOf(cabs, unharmed.transit!);
      const all = losses.flatMap((first, n) => losses.slice(n + 1).map((second) => [first, second]));
      expect(all.length).toBeGreaterThan(10);
      // Half of the pairs, each on one of the databases.
      const pairs = selected(all, (_, index) => index % 4 === (kind === 'sqlite' ? 0 : 2));
      const scenarios = await runConcurrently(4, pairs.length, (n) => prepareScenario(cabs, journey, pairs[n]));
      await playAll(scenarios);
      for (let run = 0; run < 2; run++) {
        await reconcile();
        await playAll(scenarios);
      }
      const outcomes = await runConcurrently(4, scenarios.length, async (n) => ({
        name: nameOf(scenarios[n]!),
        outcome: await outcomeOf(scenarios[n]!),
      }));
      expect(outcomes).toEqual(scenarios.map((it) => ({ name: nameOf(it), outcome: journey.outcome })));
      expect(await reconcile(true)).toMatchObject({ missing: {} });
      expect(await get(cabs, '/mesh/outbox')).toMatchObject({ pending: 0, deadLetters: 0 });
    },
    600_000,
  );
});
