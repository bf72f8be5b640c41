import { meshMigrations } from '../../src/infrastructure/store/migrations.js';
import { InboxReceiver } from '../../src/infrastructure/delivery/inbox-receiver.js';
import { Database, migrateDatabase } from '../../src/infrastructure/persistence/database.js';
import { POINTS } from '../../tools/extraction/extraction.js';
import { eventually, startCabs, type Cabs } from '../support/cabs.js';
import type { DatabaseKind } from '../support/databases.js';
import {
  rowsOfModule,
  calculateFee,
  deadLetter,
  delivery,
  populate,
  HISTORIES,
  historyOf,
  inbox,
  KNATIVE,
  move,
  OTHERS,
  PAIRS,
  read,
  run,
  write,
} from '../support/database-contents.js';
import { get, post, type Driver } from '../support/rest.js';

const DRIVERS = [meshMigrations, historyOf('drivers')];

const DEAD = '01932f3c-0000-7000-8000-000000000001';

/** Whether a process that hosts the drivers starts there. */
async function isHome(url: string): Promise<boolean> {
  const opening = Database.open({ database: url, entities: [], histories: DRIVERS, migrate: false });
  return opening.then(
    (database) => database.close().then(() => true),
    () => false,
  );
}

/** Every point at which it can end, from each kind of database to the other one where there are two. */
const ENDINGS = (source: DatabaseKind, target: DatabaseKind) =>
  source.kind !== target.kind || PAIRS.length === 1 ? POINTS : [];

describe.each(PAIRS)('The extraction of a module from $from to $to', ({ source, target }) => {
  let from: string;
  let to: string;
  const opened: Cabs[] = [];

  /** Starts an application, closed after the test at the latest. */
  async function start(url: string, environment: Record<string, string> = {}): Promise<Cabs> {
    const cabs = await startCabs(url, environment);
    opened.push(cabs);
    return cabs;
  }

  beforeEach(async () => {
    [from, to] = [await source.fresh(), await target.fresh()];
    await populate(from);
  });
  afterEach(async () => {
    for (const cabs of opened.splice(0)) await cabs.close();
  });

  it.each(['drivers', 'loyalty', 'geolocation'])(
    'takes all of %s, nothing of others, and brings it back',
    async (module) => {
      const before = await rowsOfModule(from, module);
      const others = await rowsOfModule(from, 'rides');
      expect(Object.values(before).every((rows) => rows.length > 0)).toBe(true);

      await move(from, to, { module });
      expect(await rowsOfModule(to, module)).toEqual(before);
      expect(Object.values(await rowsOfModule(from, module)).flat()).toEqual([]);
      expect(await rowsOfModule(from, 'rides')).toEqual(others);
      expect(await read(to, 'SELECT reply FROM mesh_idempotency_key')).toHaveLength(1);

      await move(to, from, { module });
      expect(await rowsOfModule(from, module)).toEqual(before);
      expect(Object.values(await rowsOfModule(to, module)).flat()).toEqual([]);
      expect(await read(from, 'SELECT * FROM mesh_module')).toEqual([]);
      // And once more: what a life elsewhere has left behind is in nobody's way.
      await move(from, to, { module });
      expect(await rowsOfModule(to, module)).toEqual(before);
    },
  );

  it('leaves a mark by which no process hosts the module in its old home, and every one does without it', async () => {
    await move(from, to);
    await expect(startCabs(from)).rejects.toThrow(`drivers has moved to`);
    await expect(startCabs(from, { ...KNATIVE, MODULES: 'drivers' })).rejects.toThrow(`drivers has moved to`);
    await expect(migrateDatabase(from, HISTORIES)).rejects.toThrow('drivers has moved to');
    await (await start(from, { ...KNATIVE, MODULES: OTHERS })).close();
    expect(await isHome(to)).toBe(true);
    const [mark] = await read<{ place: string }>(from, 'SELECT place FROM mesh_module');
    expect(mark!.place).toBe(to.replace(/\/\/.*@/, '//'));
  });

  for (const point of ENDINGS(source, target)) {
    it(`that ends at the point "${point}" is there or here, and ends well when it is repeated`, async () => {
      await expect(move(from, to, { point })).rejects.toThrow('The lights go out');
      const hasLeft = point === 'left';
      expect(await isHome(from)).toBe(!hasLeft);
      expect(await read(from, 'SELECT * FROM mesh_module')).toHaveLength(hasLeft ? 1 : 0);
      // Before its tables are announced there, nothing forbids to make them.
      if (point !== 'locked' && point !== 'prepared') expect(await isHome(to)).toBe(false);
      if (!hasLeft) {
        // Life goes on where it was, before somebody has the time to repeat it.
        await write(
          from,
          `DELETE FROM mesh_delivery WHERE id = 'drivers-first'`,
          inbox('drivers', 'drivers-first'),
          `DELETE FROM mesh_dead_letter WHERE id = 'drivers-dead'`,
          `DELETE FROM drivers_driver WHERE id = 7`,
          delivery('drivers', calculateFee('drivers-third', 'g')),
        );
      }
      const expected = await rowsOfModule(hasLeft ? to : from, 'drivers');
      await move(from, to);
      expect(await rowsOfModule(to, 'drivers')).toEqual(expected);
      expect(Object.values(await rowsOfModule(from, 'drivers')).flat()).toEqual([]);
      expect([await isHome(from), await isHome(to)]).toEqual([false, true]);
    });
  }

  it('that is killed while it copies has left all in its old home, and none of it in the new one', async () => {
    const before = await rowsOfModule(from, 'drivers');
    const args = [JSON.stringify({ module: 'drivers', from, to, point: 'copying' })];
    expect(await run('test/support/extraction-child.ts', args)).toMatchObject({ signal: 'SIGKILL' });
    expect(await rowsOfModule(from, 'drivers')).toEqual(before);
    expect(Object.values(await rowsOfModule(to, 'drivers')).flat()).toEqual([]);
    // A server of PostgreSQL may take a moment to find that nobody is there any more.
    await eventually(
      () => move(from, to).then(String, String),
      (outcome) => !outcome.includes('in use'),
    );
    expect(await rowsOfModule(to, 'drivers')).toEqual(before);
  }, 60_000);

  it('repeated, sends after it what came too late, once', async () => {
    await move(from, to);
    const there = await rowsOfModule(to, 'drivers');
    await write(
      from,
      delivery('drivers', calculateFee('late', 'h')),
      deadLetter('late', 'drivers', calculateFee('later', 'h')),
    );
    // An earlier try got as far as the other side.
    await write(to, delivery('drivers', calculateFee('late', 'h'), 2));
    await move(from, to);
    const after = await rowsOfModule(to, 'drivers');
    expect(after.deliveries).toHaveLength(there.deliveries!.length + 1);
    expect(after['dead letters']).toHaveLength(there['dead letters']!.length + 1);
    expect(Object.values(await rowsOfModule(from, 'drivers')).flat()).toEqual([]);
    await move(from, to);
    expect(await rowsOfModule(to, 'drivers')).toEqual(after);
  });

  it("refuses where a database is not the module's to leave or to enter, and says why in a line", async () => {
    const third = await target.fresh();
    const refused = async (outcome: Promise<unknown>, why: RegExp) => {
      await expect(outcome).rejects.toThrow(why);
      await expect(outcome).rejects.toMatchObject({ name: 'Refused', message: expect.not.stringContaining('\n') });
    };
    await refused(move(from, from), /is where drivers leaves/);
    await refused(move(third, to), /There is no|lacks migrations of mesh/);
    await migrateDatabase(third, [meshMigrations]);
    await refused(move(third, to), /lacks migrations of drivers/);
    await populate(to);
    await refused(move(from, to), /has a drivers of its own, with \d+ rows/);
    await expect(move(from, third, { point: 'announced' })).rejects.toThrow('lights');
    await refused(move(third, to), /still on its way into/);
    await refused(move(to, third), /is on its way into .* from/);
    await move(from, third);
    await refused(move(from, to), /has moved to .* already/);
    await refused(move(to, from), /can come back from there only/);
    await write(from, delivery('drivers', calculateFee('late', 'h')));
    await refused(move(third, from), /got 1 messages for drivers after it had left/);
    await move(from, third);
    await move(third, from);
    expect(await isHome(from)).toBe(true);
  });

  it('goes on at the new place as if it had always been there', async () => {
    [from, to] = [await source.fresh(), await target.fresh()];
    const newDriver = { firstName: 'Bob', lastName: 'Falc', driverLicense: 'AD9SS564564AA1ZZ' };
    const register = async ({ http }: Cabs, key: string) => {
      const reply = await http.post('/drivers').set('Idempotency-Key', key).send(newDriver);
      return (reply.body as Driver).id;
    };
    const receive = ({ app }: Cabs, id: string) =>
      app.get(InboxReceiver).receive('drivers', calculateFee(id, '0b9e5a4c-8d8f-4c1e-9a57-3d2f6c1b7e42'));
    const monolith = await start(from);
    const ids = [await register(monolith, 'a'), await register(monolith, 'b')];
    expect(await receive(monolith, 'once')).toBe('handled');
    await monolith.close();
    const retryAt = Date.now() + 1500;
    await write(
      from,
      delivery('drivers', calculateFee('first', 'first')),
      delivery('drivers', calculateFee('retry', 'retry'), 3, retryAt),
      deadLetter(DEAD, 'drivers', calculateFee('dead', 'dead')),
    );

    await move(from, to);
    const service = await start(to, { ...KNATIVE, MODULES: 'drivers' });
    const hasFee = async (transitId: string) =>
      (await read(to, `SELECT 1 FROM drivers_fee WHERE transit_id = '${transitId}'`)).length > 0;
    expect(await receive(service, 'once')).toBe('duplicate');
    expect(await register(service, 'b')).toBe(ids[1]);
    expect(await register(service, 'c')).toBe(ids[1]! + 1);
    await eventually(() => hasFee('first'), Boolean);
    await eventually(() => hasFee('retry'), Boolean);
    expect(Date.now()).toBeGreaterThanOrEqual(retryAt);
    await post(service, `/mesh/dead-letters/${DEAD}/replay`, undefined, 202);
    await eventually(() => hasFee('dead'), Boolean);
    expect(await get(service, '/mesh/dead-letters')).toMatchObject({ total: 0 });
    await service.close();

    await move(to, from);
    const again = await start(from);
    expect(await receive(again, 'once')).toBe('duplicate');
    expect(await receive(again, 'first')).toBe('duplicate');
    expect(await register(again, 'd')).toBe(ids[1]! + 2);
  });
});
