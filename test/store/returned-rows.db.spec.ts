import { randomUUID } from 'node:crypto';
import {
  Column,
  Entity,
  In,
  IsNull,
  JoinColumn,
  ManyToOne,
  PrimaryColumn,
  PrimaryGeneratedColumn,
  VirtualColumn,
  type MigrationInterface,
  type QueryRunner,
} from 'typeorm';
import { Database } from '../../src/infrastructure/persistence/database.js';
import { insertOnce } from '../../src/infrastructure/persistence/insert-once.js';
import { updateReturning } from '../../src/infrastructure/persistence/update-returning.js';
import { UnitOfWork } from '../../src/infrastructure/persistence/unit-of-work.js';
import { DATABASES } from '../support/databases.js';

@Entity('bill')
class Bill {
  @PrimaryColumn('text')
  id: string;
  @Column('text', { unique: true })
  order: string;
  @Column('simple-json')
  lines: string[];
  @Column('boolean')
  isPaid: boolean;
  @Column('double precision', { nullable: true })
  discount: number | null;
}

/** Has columns that `find()` doesn't read. */
@Entity('parcel')
class Parcel {
  @PrimaryColumn('text')
  id: string;
  @Column('text', { default: 'secret', select: false })
  secret?: string;
  @VirtualColumn({ query: () => 'SELECT 7' })
  seven?: number;
  @ManyToOne(() => Payer)
  @JoinColumn({ name: 'payer_id' })
  /** Defined without a value, as target ES2022 defines each field. */
  payer?: Payer | null = undefined;
}

@Entity('payer')
class Payer {
  @PrimaryColumn('uuid')
  id: string;
  @Column('bigint', { unique: true })
  number: string | number;
}

class Address {
  @Column('text')
  street: string;
  @Column('text', { nullable: true })
  floor: string | null;
}

@Entity('visit')
class Visit {
  @PrimaryGeneratedColumn('uuid')
  id: string;
  @Column('text', { unique: true })
  day: string;
  @Column(() => Address)
  at: Address;
  @ManyToOne(() => Payer)
  @JoinColumn({ name: 'payer_id' })
  payer: Payer;
}

class Bills1763900000000 implements MigrationInterface {
  async up(runner: QueryRunner): Promise<void> {
    await runner.query(`CREATE TABLE bill (id text PRIMARY KEY, "order" text NOT NULL UNIQUE, lines text NOT NULL,
      is_paid boolean NOT NULL, discount double precision)`);
    await runner.query(
      `CREATE TABLE parcel (id text PRIMARY KEY, secret text NOT NULL DEFAULT 'secret', payer_id text)`,
    );
    const uuid = runner.connection.options.type === 'postgres' ? 'uuid' : 'varchar';
    await runner.query(`CREATE TABLE payer (id ${uuid} PRIMARY KEY, number bigint NOT NULL UNIQUE)`);
    const generated = uuid === 'uuid' ? 'DEFAULT gen_random_uuid()' : '';
    await runner.query(`CREATE TABLE visit (id ${uuid} PRIMARY KEY ${generated}, day text NOT NULL UNIQUE, at_street text NOT NULL,
      at_floor text, payer_id ${uuid} REFERENCES payer (id))`);
  }

  async down(): Promise<void> {}
}

const bill = (n: number, changes: Partial<Bill> = {}): Bill => ({
  id: `bill ${n}`,
  order: `order ${n}`,
  lines: [`line ${n}`],
  isPaid: n % 2 === 0,
  discount: n === 1 ? null : n / 4,
  ...changes,
});

describe.each(DATABASES)('Rows that a statement returns, on $kind', ({ fresh }) => {
  let database: Database;
  let work: UnitOfWork;
  beforeEach(async () => {
    const histories = [{ owner: 'bills', migrations: [Bills1763900000000] }];
    database = await Database.open({
      database: await fresh(),
      entities: [Bill, Payer, Parcel, Visit],
      histories,
      migrate: true,
    });
    work = new UnitOfWork(database);
  });
  afterEach(() => database.close());

  const insert = (...bills: Bill[]) => work.run(() => insertOnce(work.repository(Bill), bills, ['order']));

  describe('insertOnce()', () => {
    it('returns the rows that it has inserted, as entities', async () => {
      const inserted = await insert(bill(2), bill(1));
      expect(inserted).toEqual([bill(2), bill(1)]);
      expect(inserted[0]).toBeInstanceOf(Bill);
      expect(await work.repository(Bill).find({ order: { id: 'ASC' } })).toEqual([bill(1), bill(2)]);
    });

    it('returns the row that was there, and leaves it as it was', async () => {
      await insert(bill(1));
      const other = bill(1, { id: 'another', lines: [], isPaid: true, discount: 3 });
      expect(await insert(bill(3), other)).toEqual([bill(3), bill(1)]);
      expect(await work.repository(Bill).count()).toBe(2);
    });

    it('returns a row whose key is read in another form than it was given', async () => {
      const id = 'ABCDEF01-2345-4678-8ABC-DEF012345678';
      const payers = work.repository(Payer);
      const [byId] = await work.run(() => insertOnce(work.repository(Payer), [{ id, number: 8 }], ['id']));
      const [byNumber] = await work.run(() =>
        insertOnce(work.repository(Payer), [{ id: randomUUID(), number: 8 }], ['number']),
      );
      expect(byId!.id.toLowerCase()).toBe(id.toLowerCase());
      expect(Number(byNumber!.number)).toBe(8);
      expect(await payers.count()).toBe(1);
    });

    it('names a property that the entity lacks', async () => {
      const wrong = work.run(() => insertOnce(work.repository(Bill), [bill(1)], ['numbr' as 'id']));
      await expect(wrong).rejects.toThrow('Bill has no column numbr');
    });

    it.each<[string, () => Promise<unknown>, string]>([
      ['no property', () => insertOnce(work.repository(Bill), [bill(1)], []), 'the key is empty: name the properties'],
      [
        'a property that is not selected',
        () => insertOnce(work.repository(Parcel), [{ id: 'one', secret: 'mine' }], ['secret']),
        'secret of Parcel has select: false',
      ],
      [
        'a property that is computed',
        () => insertOnce(work.repository(Parcel), [{ id: 'one' }], ['seven']),
        'Parcel has no column seven',
      ],
      [
        'a relation',
        () => insertOnce(work.repository(Parcel), [{ id: 'one', payer: { id: randomUUID() } }], ['payer']),
        'payer of Parcel is a relation: declare its column',
      ],
      [
        'a value that the database generates',
        () => insertOnce(work.repository(Visit), [{ day: 'Monday', at: { street: 'Main', floor: null } }], ['id']),
        'a row of Visit has no value for id: set it in each row',
      ],
      [
        'a value that is SQL',
        () => insertOnce(work.repository(Parcel), [{ id: () => "'one'" }], ['id']),
        'a row of Parcel has no value for id',
      ],
    ])('says what is wrong with a key of %s', async (_, insertion, message) => {
      await expect(work.run(insertion)).rejects.toThrow(`insertOnce(): ${message}`);
    });

    it('does nothing without rows', async () => {
      expect(await insert()).toEqual([]);
    });

    it('fails where another unique key is taken', async () => {
      await insert(bill(1));
      await expect(insert(bill(2, { id: 'bill 1' }))).rejects.toThrow();
      expect(await work.repository(Bill).count()).toBe(1);
    });
  });

  describe('updateReturning()', () => {
    const update = (...[where, changes]: [object, Partial<Bill>]) =>
      work.run(() => updateReturning(work.repository(Bill), where, changes));

    it('returns the rows that it has updated, as they are now, as entities', async () => {
      await insert(bill(1), bill(2), bill(3));
      const paid = await update({ isPaid: false }, { isPaid: true, lines: ['all'], discount: 0.5 });
      const changes = { isPaid: true, lines: ['all'], discount: 0.5 };
      expect(paid.sort((a, b) => (a.id < b.id ? -1 : 1))).toEqual([bill(1, changes), bill(3, changes)]);
      expect(paid[0]).toBeInstanceOf(Bill);
      expect(await work.repository(Bill).find({ order: { id: 'ASC' } })).toEqual([paid[0], bill(2), paid[1]]);
    });

    it('takes the operators of TypeORM, and changes to null', async () => {
      await insert(bill(2), bill(3));
      expect(await update({ id: In(['bill 2', 'bill 9']) }, { discount: null })).toEqual([bill(2, { discount: null })]);
    });

    it('reads what find() reads of the columns of an entity', async () => {
      const parcels = () => work.repository(Parcel);
      const inserted = await work.run(() => insertOnce(parcels(), [{ id: 'one' }], ['id']));
      const updated = await work.run(() => updateReturning(parcels(), { id: 'one' }, { secret: 'other' }));
      expect([...inserted, ...updated].map((it) => ({ ...it }))).toEqual([{ id: 'one' }, { id: 'one' }]);
    });

    it.each([null, undefined])('refuses a condition that is %s', async (discount) => {
      await insert(bill(1));
      await expect(update({ id: 'bill 1', discount }, { isPaid: true })).rejects.toThrow('the condition on discount');
      expect(await work.repository(Bill).find()).toEqual([bill(1)]);
    });

    describe('with conditions on embedded entities and relations', () => {
      const payer = { id: randomUUID(), number: 1 };
      const visits = () => work.repository(Visit);
      const move = (where: object, street = 'Side') =>
        work.run(async () => (await updateReturning(visits(), where, { at: { street } })).map(({ day }) => day).sort());
      beforeEach(() =>
        work.run(async () => {
          await work.repository(Payer).insert(payer);
          const visit = (day: string, floor: string | null) => ({ day, at: { street: 'Main', floor }, payer });
          await insertOnce(visits(), [visit('Monday', null), visit('Tuesday', '2')], ['day']);
        }),
      );

      it.each<[object, string[]]>([
        [{ at: { street: 'Main', floor: '2' } }, ['Tuesday']],
        [{ at: { floor: IsNull() } }, ['Monday']],
        [{ payer }, ['Monday', 'Tuesday']],
        [{ payer: { ...payer, number: undefined } }, ['Monday', 'Tuesday']],
        [
          [{ day: 'Monday' }, { at: { floor: '2' } }],
          ['Monday', 'Tuesday'],
        ],
        [[{ day: 'Monday' }, { day: 'Sunday' }], ['Monday']],
        [[{ day: In(['Tuesday']) }], ['Tuesday']],
        [[], []],
      ])('updates what matches: %j', async (where, days) => {
        expect(await move(where)).toEqual(days);
        expect(await visits().countBy({ at: { street: 'Side' } })).toBe(days.length);
      });

      it.each<[object, string]>([
        [{ at: { street: 'Main', floor: null } }, 'on at.floor is null or undefined: use IsNull()'],
        [{ at: { street: undefined } }, 'on at.street is null or undefined'],
        [[{ day: 'Monday' }, { day: undefined }], 'on day is null or undefined'],
        [[{ day: 'Monday' }, { at: { floor: null } }], 'on at.floor is null or undefined'],
        [{ payer: { id: null } }, 'on id is null or undefined: use IsNull() to find NULL (in payer)'],
        [{ payer: {} }, 'is empty: each row would match (in payer)'],
        [{ at: {} }, 'on at is empty: each row would match'],
        [{}, 'is empty: each row would match'],
        [[{ day: 'Monday' }, {}], 'is empty: each row would match'],
      ])('refuses what would match no row, or each: %j', async (where, problem) => {
        await expect(move(where)).rejects.toThrow(`updateReturning(): the condition ${problem}`);
        expect(await visits().countBy({ at: { street: 'Main' } })).toBe(2);
      });
    });

    it('returns nothing where no row matches', async () => {
      await insert(bill(1));
      expect(await update({ id: 'bill 1', isPaid: true }, { discount: 1 })).toEqual([]);
      expect(await work.repository(Bill).find()).toEqual([bill(1)]);
    });

    it('leaves nothing behind when its unit fails', async () => {
      await insert(bill(1));
      const failing = work.run(async () => {
        await updateReturning(work.repository(Bill), { id: 'bill 1' }, { isPaid: true });
        throw new Error('The unit fails');
      });
      await expect(failing).rejects.toThrow('The unit fails');
      expect(await work.repository(Bill).find()).toEqual([bill(1)]);
    });
  });
});
