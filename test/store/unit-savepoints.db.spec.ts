import { DataSource, type QueryRunner } from 'typeorm';
import { joinUnits } from '../../src/infrastructure/persistence/host-data-source.js';
import { TransactionsOverlap, UnitEnded } from '../../src/infrastructure/persistence/sql.js';
import type { Epilogue } from '../../src/infrastructure/persistence/unit.js';
import { DATABASES } from '../support/databases.js';
import { Note, openNotes, outcome, type Notes } from '../support/notes.js';
import { Random } from '../../faults/random.js';
import { IS_THOROUGH } from '../support/thorough.js';

const SCHEDULES = IS_THOROUGH ? 2000 : 150;
const FAILURE = new Error('The test lets this transaction fail');

describe.each(DATABASES)('Transactions of TypeORM in a unit of work on $kind', ({ kind, fresh }) => {
  let notes: Notes;
  /** The data source of an application, whose repositories join units. */
  let host: DataSource;
  /** What units have stored as they ended, as the outbox stores messages. */
  let stored: string[];
  const epilogue: Epilogue<string> = { store: async (_, items) => void stored.push(...items) };

  beforeAll(async () => {
    const url = await fresh();
    notes = await openNotes(url, { poolSize: 2 });
    host = new DataSource(
      kind === 'postgres'
        ? { type: 'postgres', url, entities: [Note] }
        : { type: 'better-sqlite3', database: url.replace('sqlite:', ''), entities: [Note] },
    );
    await host.initialize();
    joinUnits(host, () => notes.work.openOrNone);
  });
  beforeEach(async () => {
    stored = [];
    await notes.work.run(() => notes.work.sql.run('DELETE FROM note'));
  });
  afterAll(async () => {
    await host.destroy();
    await notes.close();
  });

  const run = <T>(work: () => Promise<T>) => notes.work.run(work);
  const stage = (item: string) => notes.work.unit.atEnd(epilogue, item);
  /** A transaction of the application that writes a row and stages an item. */
  const transaction = (id: string, isFailing = false) =>
    host.transaction(async (manager) => {
      await manager.insert(Note, { id });
      stage(id);
      if (isFailing) throw FAILURE;
      return id;
    });

  it('that roll back take their rows, items and hooks along, and nothing else', async () => {
    const hooks: string[] = [];
    await run(async () => {
      await transaction('first');
      const failed = host.transaction(async (manager) => {
        await manager.insert(Note, { id: 'failed' });
        stage('failed');
        notes.work.unit.afterCommit(() => hooks.push('failed'));
        notes.work.unit.beforeCommit(async () => void hooks.push('failed'));
        await manager.transaction((inner) => inner.insert(Note, { id: 'nested' }));
        throw FAILURE;
      });
      expect(await outcome(failed)).toBe(FAILURE);
      await notes.work.unit.manager.transaction(async () => stage('last'));
      notes.work.unit.afterCommit(() => hooks.push('last'));
    });
    expect(await notes.seen()).toEqual(['first']);
    expect(stored).toEqual(['first', 'last']);
    expect(hooks).toEqual(['last']);
  });

  it('may run side by side while none fails', async () => {
    const ids = Array.from({ length: 8 }, (_, n) => `note ${n}`);
    await run(() => Promise.all(ids.map((id) => transaction(id))));
    expect(await notes.seen()).toEqual(ids);
    expect(stored.sort()).toEqual(ids);
  });

  it('that fail side by side with others fail the unit, when what others wrote would be undone', async () => {
    const unit = run(async () => {
      const runner = host.createQueryRunner();
      await runner.startTransaction();
      await host.getRepository(Note).insert({ id: 'other' });
      await runner.rollbackTransaction().catch(() => undefined);
      return 'told that all went well';
    });
    expect(await outcome(unit)).toBeInstanceOf(TransactionsOverlap);
    expect(await notes.seen()).toEqual([]);
    const inPlainSql = run(async () => {
      const runner = host.createQueryRunner();
      await runner.startTransaction();
      await notes.add('plain');
      await runner.rollbackTransaction().catch(() => undefined);
    });
    expect(await outcome(inPlainSql)).toBeInstanceOf(TransactionsOverlap);
  });

  it('lose nothing that was written while they roll back', async () => {
    const unit = run(async () => {
      const runner = host.createQueryRunner();
      await runner.startTransaction();
      await runner.manager.insert(Note, { id: 'undone' });
      const rolledBack = runner.rollbackTransaction().catch(() => undefined);
      // The ROLLBACK isn't sent yet.
      await Promise.resolve();
      await Promise.all([rolledBack, notes.add('other')]);
    });
    const result = await outcome(unit);
    expect(await notes.seen()).toEqual(result === 'done' ? ['other'] : []);
  });

  it('leave what their callers were told, in whichever order they begin, write and end', async () => {
    let committed = 0;
    for (let seed = 0; seed < SCHEDULES; seed++) {
      const random = new Random(seed);
      stored = [];
      const told = new Set<string>();
      const unit = run(async () => {
        const open = new Map<QueryRunner, string[]>();
        for (let step = 0; step < 12 || open.size > 0; step++) {
          const id = `${seed} ${step}`;
          const runners = [...open.keys()];
          const runner = random.pick([undefined, ...runners]);
          if (!runner && step < 12 && random.chance(0.5)) {
            const begun = host.createQueryRunner();
            await begun.startTransaction();
            open.set(begun, []);
          } else if (!runner || random.chance(0.5)) {
            await (runner?.manager.getRepository(Note) ?? host.getRepository(Note)).insert({ id });
            stage(id);
            if (runner) open.get(runner)!.push(id);
            else told.add(id);
          } else if (random.chance(0.7)) {
            await runner.commitTransaction();
            for (const it of open.get(runner)!) told.add(it);
            open.delete(runner);
          } else {
            await runner.rollbackTransaction().catch(() => undefined);
            open.delete(runner);
          }
        }
      });
      const error = await outcome(unit);
      const seen = (await notes.seen()).filter((id) => id.startsWith(`${seed} `));
      if (error === 'done') {
        committed++;
        expect({ seed, seen }).toEqual({ seed, seen: [...told].sort() });
        expect({ seed, stored: stored.sort() }).toEqual({ seed, stored: [...told].sort() });
      } else {
        expect(error).toBeInstanceOf(TransactionsOverlap);
        expect(seen).toEqual([]);
      }
    }
    expect(committed).toBeGreaterThan(SCHEDULES / 4);
    expect(committed).toBeLessThan(SCHEDULES);
  });

  it('of other code may be rolled back by name', async () => {
    await run(async () => {
      const { manager } = notes.work.unit;
      await manager.query('SAVEPOINT mine');
      await notes.add('undone');
      stage('undone');
      await manager.query('ROLLBACK TO mine');
      await manager.query('SAVEPOINT mine');
      await notes.add('kept');
      stage('kept');
      await manager.query('release mine;');
      expect(await outcome(manager.query('ROLLBACK TO SAVEPOINT mine'))).toBeInstanceOf(UnitEnded);
    });
    expect(await notes.seen()).toEqual(['kept']);
    expect(stored).toEqual(['kept']);
  });

  it('cannot end the unit: a runner without a transaction of its own has none to roll back', async () => {
    await run(async () => {
      await notes.add('before');
      const runner = host.createQueryRunner();
      // The usual clean-up of code that failed before its transaction began, or after it.
      if (runner.isTransactionActive) await runner.rollbackTransaction();
      await runner.startTransaction();
      await runner.manager.insert(Note, { id: 'inside' });
      await runner.commitTransaction();
      if (runner.isTransactionActive) await runner.rollbackTransaction();
      expect(await outcome(runner.commitTransaction())).toBeInstanceOf(UnitEnded);
      const unused = host.createQueryRunner();
      await notes.work.unit.manager.transaction(async (manager) => {
        await manager.insert(Note, { id: 'inside of another' });
        if (unused.isTransactionActive) await unused.rollbackTransaction();
      });
      await runner.release();
      const disposable = host.createQueryRunner();
      await disposable.startTransaction();
      await disposable.manager.insert(Note, { id: 'disposed' });
      await disposable[Symbol.asyncDispose]();
      stage('after');
    });
    expect(await notes.seen()).toEqual(['before', 'disposed', 'inside', 'inside of another']);
    expect(stored).toEqual(['after']);
  });

  it.each(['COMMIT', 'rollback', ' Rollback work;', 'END', 'ABORT', "PREPARE TRANSACTION 'one'"])(
    'cannot end the unit by %j',
    async (statement) => {
      await run(async () => {
        await notes.add('kept');
        expect(await outcome(notes.work.unit.manager.query(statement))).toBeInstanceOf(UnitEnded);
        expect(await outcome(notes.work.sql.run(statement))).toBeInstanceOf(UnitEnded);
        expect(await outcome(host.query(statement))).toBeInstanceOf(UnitEnded);
        stage('kept');
      });
      expect(await notes.seen()).toEqual(['kept']);
      expect(stored).toEqual(['kept']);
    },
  );
});
