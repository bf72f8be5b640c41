import { meshMigrations } from '../../src/infrastructure/store/migration-histories.js';
import { InboxReceiver } from '../../src/infrastructure/delivery/inbox-receiver.js';
import { Database, migrateDatabase } from '../../src/infrastructure/persistence/database.js';
import { POINTS } from '../../tools/extraction/move.js';
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
import { selected } from '../support/thorough.js';

const DRIVERS = [meshMigrations, historyOf('drivers')];

const DEAD = '01932f3c-0000-7000-8000-000000000001';

/** Whether a process that hosts the drivers can start on a database. */
async function canHostDrivers(url: string): Promise<boolean> {
  const opening = Database.open({ database: url, entities: [], histories: DRIVERS, migrate: false });
  return opening.then(
    (database) => database.close().then(() => true),
    () => false,
  );
}

/** The points at which a test interrupts an extraction: all of them between different kinds of databases. */
const interruptions = (source: DatabaseKind, target: DatabaseKind) =>
  source.kind !== target.kind || PAIRS.length === 1 ? POINTS : [];

describe.each(selected(PAIRS, ({ from, to }) => (from === 'sqlite' && to === 'postgres') || PAIRS.length === 1))(
  'The extraction of a module from $from to $to',
  ({ source, target }) => {
    let from: string;
    let to: string;
    const opened: Cabs[] = [];

    /** Starts an application that is closed after the test at the latest. */
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
      'moves all rows of %s, none of other modules, and moves them back',
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
        // A third move: nothing that the first two left behind is in the way.
        await move(from, to, { module });
        expect(await rowsOfModule(to, module)).toEqual(before);
      },
    );

    it('leaves a mark in the old database, so that no process hosts the module there', async () => {
      await move(from, to);
      await expect(startCabs(from)).rejects.toThrow(`drivers has moved to`);
      await expect(startCabs(from, { ...KNATIVE, MODULES: 'drivers' })).rejects.toThrow(`drivers has moved to`);
      await expect(migrateDatabase(from, HISTORIES)).rejects.toThrow('drivers has moved to');
      await (await start(from, { ...KNATIVE, MODULES: OTHERS })).close();
      expect(await canHostDrivers(to)).toBe(true);
      const [mark] = await read<{ place: string }>(from, 'SELECT place FROM mesh_module');
      expect(mark!.place).toBe(to.replace(/\/\/.*@/, '//'));
    });

    for (const point of interruptions(source, target)) {
      it(`interrupted at the point "${point}" leaves the module in one database, and is completed when it is repeated`, async () => {
        await expect(move(from, to, { point })).rejects.toThrow('Interrupted by the test');
        const hasLeft = point === 'left';
        expect(await canHostDrivers(from)).toBe(!hasLeft);
        expect(await read(from, 'SELECT * FROM mesh_module')).toHaveLength(hasLeft ? 1 : 0);
        // Before the announcement, a process may still create the module's tables in the new database.
        if (point !== 'locked' && point !== 'prepared') expect(await canHostDrivers(to)).toBe(false);
        if (!hasLeft) {
          // The module goes on in the old database before the extraction is repeated.
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
        expect([await canHostDrivers(from), await canHostDrivers(to)]).toEqual([false, true]);
      });
    }

    it('killed while it copies leaves all rows in the old database, and none in the new one', async () => {
      const before = await rowsOfModule(from, 'drivers');
      const args = [JSON.stringify({ module: 'drivers', from, to, point: 'copying' })];
      expect(await run('test/support/extraction-child.ts', args)).toMatchObject({ signal: 'SIGKILL' });
      expect(await rowsOfModule(from, 'drivers')).toEqual(before);
      expect(Object.values(await rowsOfModule(to, 'drivers')).flat()).toEqual([]);
      // PostgreSQL lists the connection of the killed process for a moment.
      await eventually(
        () => move(from, to).then(String, String),
        (outcome) => !outcome.includes('in use'),
      );
      expect(await rowsOfModule(to, 'drivers')).toEqual(before);
    }, 60_000);

    it('repeated, moves late messages, and each once', async () => {
      await move(from, to);
      const there = await rowsOfModule(to, 'drivers');
      await write(
        from,
        delivery('drivers', calculateFee('late', 'h')),
        deadLetter('late', 'drivers', calculateFee('later', 'h')),
      );
      // An interrupted extraction has copied one of them.
      await write(to, delivery('drivers', calculateFee('late', 'h'), 2));
      await move(from, to);
      const after = await rowsOfModule(to, 'drivers');
      expect(after.deliveries).toHaveLength(there.deliveries!.length + 1);
      expect(after['dead letters']).toHaveLength(there['dead letters']!.length + 1);
      expect(Object.values(await rowsOfModule(from, 'drivers')).flat()).toEqual([]);
      await move(from, to);
      expect(await rowsOfModule(to, 'drivers')).toEqual(after);
    });

    it('is refused in one line when the module can not leave or enter a database', async () => {
      const third = await target.fresh();
      const expectRefused = async (outcome: Promise<unknown>, reason: RegExp) => {
        await expect(outcome).rejects.toThrow(reason);
        await expect(outcome).rejects.toMatchObject({
          name: 'RefusedError',
          message: expect.not.stringContaining('\n'),
        });
      };
      await expectRefused(move(from, from), /is the database that drivers leaves/);
      await expectRefused(move(third, to), /There is no|lacks migrations of mesh/);
      await migrateDatabase(third, [meshMigrations]);
      await expectRefused(move(third, to), /lacks migrations of drivers/);
      await populate(to);
      await expectRefused(move(from, to), /has a drivers of its own, with \d+ rows/);
      await expect(move(from, third, { point: 'announced' })).rejects.toThrow('Interrupted');
      await expectRefused(move(third, to), /still on its way into/);
      await expectRefused(move(to, third), /is on its way into .* from/);
      await move(from, third);
      await expectRefused(move(from, to), /has moved to .* already/);
      await expectRefused(move(to, from), /can come back from there only/);
      await write(from, delivery('drivers', calculateFee('late', 'h')));
      await expectRefused(move(third, from), /got 1 messages for drivers after it had left/);
      await move(from, third);
      await move(third, from);
      expect(await canHostDrivers(from)).toBe(true);
    });

    it('lets the module go on in the new database: inbox, ids, replies, retries and dead letters', async () => {
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
  },
);
