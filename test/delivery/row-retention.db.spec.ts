import { Injectable, Module, type Type } from '@nestjs/common';
import { Test, type TestingModule } from '@nestjs/testing';
import type { MigrationInterface, QueryRunner } from 'typeorm';
import { MeshFeature } from '../../src/infrastructure/contracts/mesh-feature.js';
import { Retention } from '../../src/infrastructure/maintenance/retention.js';
import { ModuleRetention, type RowRetention } from '../../src/infrastructure/maintenance/row-retention.js';
import { MeshModule } from '../../src/infrastructure/mesh.module.js';
import { eventually } from '../support/cabs.js';
import { DATABASES } from '../support/databases.js';
import { connect, type Connection } from '../support/notes.js';

/** In s since 1970: later than today, so that the sweep at the start of the application removes nothing. */
const BEGIN = 2_000_000_000;

class Parcels1763900000000 implements MigrationInterface {
  async up(runner: QueryRunner): Promise<void> {
    await runner.query('CREATE TABLE post_parcel (id integer PRIMARY KEY, state text NOT NULL, at integer NOT NULL)');
    await runner.query('CREATE INDEX post_parcel_at ON post_parcel (at)');
  }
  async down(): Promise<void> {}
}

@Injectable()
@ModuleRetention()
class BrokenRetention implements RowRetention {
  expired(now: number) {
    return [{ table: 'post_missing', where: 'at < $1', parameters: [now] }];
  }
}

@Injectable()
@ModuleRetention()
class ParcelRetention implements RowRetention {
  expired(now: number) {
    const parameters = [Math.floor(now / 1000), 'delivered'];
    return [{ table: 'post_parcel', where: 'at < $1 AND state = $2', parameters }];
  }
}

describe.each(DATABASES)('The retention of rows of modules on $kind', ({ fresh, kind }) => {
  let database: string;
  let app: TestingModule | undefined;
  let observer: Connection;

  beforeEach(async () => {
    database = await fresh();
  });
  afterEach(async () => {
    await observer?.close();
    await app?.close();
    app = undefined;
  });

  async function start(...providers: Type[]): Promise<void> {
    @MeshFeature({ name: 'post', contract: {} })
    @Module({ providers })
    class PostModule {}
    const migrations = [{ owner: 'post', migrations: [Parcels1763900000000] }];
    const mesh = MeshModule.forRoot({
      application: 'post',
      modules: [PostModule],
      database,
      migrations,
      migrate: true,
    });
    app = await Test.createTestingModule({ imports: [mesh, PostModule] }).compile();
    await app.init();
    observer = await connect(database);
  }
  /** Inserts parcels 1 to `count`, a second apart; each third one is open. */
  const insert = (count: number) =>
    observer.run(`INSERT INTO post_parcel (id, state, at)
      WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < ${count})
      SELECT n, CASE n % 3 WHEN 0 THEN 'open' ELSE 'delivered' END, ${BEGIN} + n FROM numbers`);
  const sweep = (second: number) => app!.get(Retention).sweep((BEGIN + second) * 1000);
  const left = async (where = 'TRUE') =>
    Number((await observer.all<{ n: number }>(`SELECT COUNT(*) AS n FROM post_parcel WHERE ${where}`))[0]!.n);

  it('removes expired rows in several batches, and no others', async () => {
    await start(ParcelRetention);
    await insert(2000);
    await sweep(1801);
    // 1200 of the parcels 1 to 1800 are delivered.
    expect(await left()).toBe(800);
    expect(await left(`state = 'delivered' AND id <= 1800`)).toBe(0);
    expect(await left(`state = 'open'`)).toBe(666);
  });

  it('goes on with other modules when the rows of one can’t be removed, and names that module', async () => {
    await start(BrokenRetention, ParcelRetention);
    await insert(10);
    await expect(sweep(5000)).rejects.toThrow('Rows of post could not be removed');
    expect(await left(`state = 'delivered'`)).toBe(0);
  });

  if (kind === 'postgres') {
    it('leaves a row that was changed while the removal waited for it', async () => {
      await start(ParcelRetention);
      await insert(4);
      const writer = await connect(database);
      await writer.run(`BEGIN; UPDATE post_parcel SET at = ${BEGIN + 9999} WHERE id = 2`);
      const sweeping = sweep(5000);
      const isWaiting = () =>
        observer.all(
          `SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE 'DELETE FROM post_parcel%'`,
        );
      await eventually(isWaiting, ({ length }) => length > 0);
      await writer.run('COMMIT');
      await writer.close();
      await sweeping;
      expect(await observer.all('SELECT id FROM post_parcel ORDER BY id')).toEqual([{ id: 2 }, { id: 3 }]);
    });
  }

  it('is refused for a provider outside a module with @MeshFeature', async () => {
    @Module({ providers: [ParcelRetention] })
    class PlainModule {}
    const mesh = MeshModule.forRoot({ application: 'post', modules: [], database, migrate: true });
    const plain = await Test.createTestingModule({ imports: [mesh, PlainModule] }).compile();
    await expect(plain.init()).rejects.toThrow('ParcelRetention is a retention outside a module with @MeshFeature');
    await plain.close();
  });
});
