import { once } from 'node:events';
import { createServer, type AddressInfo } from 'node:net';
import { Database } from '../../src/infrastructure/persistence/database.js';
import { errorMessage } from '../../src/infrastructure/observability/error-message.js';
import { addressProblem } from '../../src/infrastructure/persistence/database-address.js';
import { sessionClient } from '../../src/infrastructure/persistence/postgres/session.js';
import { DatabaseUnavailable, isConnectionLost, UnitTimedOut } from '../../src/infrastructure/persistence/sql.js';
import { DATABASES } from '../support/databases.js';
import { connect, deferred, notesHistory, numbers, openNotes, outcome, type Notes } from '../support/notes.js';

const postgres = DATABASES.find(({ kind }) => kind === 'postgres');

describe('The address of a database', () => {
  it.each([
    'sqlite:data/cabs.db',
    'postgres://u:p%40ss@db:5432/cabs?options=-c%20x%3D1',
    'postgresql:///cabs?host=/run',
    'postgres://u@/cabs?host=/run',
    'postgres://u:p%40ss@/cabs?host=/run',
  ])('may be %s', (address) => expect(addressProblem(address)).toBeUndefined());

  it.each([
    ['sqlite::memory:', 'sqlite:<path of a file>'],
    ['sqlite:', 'sqlite:<path of a file>'],
    ['sqlite:file:/tmp/x.db?mode=memory', 'URIs of SQLite (file:)'],
    ['mysql://db/cabs', 'sqlite:<path of a file>'],
    ['postgres://u:secret@one:5432,two:5432/cabs', 'expected one host'],
    ['postgres://u:secret@one,two/cabs', 'expected one host'],
    ['postgres://u:sec#ret@db/cabs', 'percent-encoded'],
    ['postgres://u:secret%@db/cabs', 'percent-encoded'],
    ['postgres://u:secret@db:port/cabs', 'percent-encoded'],
  ])('may not be %s', (address, problem) => {
    expect(addressProblem(address)).toContain(problem);
    expect(addressProblem(address)).not.toContain('secret');
  });
});

(postgres ? describe : describe.skip)('A session of PostgreSQL', () => {
  let location: string;
  let notes: Notes | undefined;

  const open = async (address = location) => (notes = await openNotes(address, { poolSize: 2 }));
  const sql = () => notes!.work.sql;
  const administer = async (statement: string) => {
    const connection = await connect(location);
    await connection.run(statement).finally(() => connection.close());
  };
  const inUnit = <T>(work: () => Promise<T>) => notes!.work.run(work);
  const setting = async (name: string) =>
    (await sql().all<{ value: string }>(`SELECT current_setting('${name}') AS value`))[0]!.value;

  beforeEach(async () => {
    location = await postgres!.fresh();
  });
  afterEach(async () => {
    await notes?.close();
    notes = undefined;
  });

  it.each(['ALTER DATABASE $name SET', 'ALTER ROLE cabs IN DATABASE $name SET'])(
    'has the settings of the mesh in spite of %s',
    async (prefix) => {
      const values = [
        'default_transaction_isolation = serializable',
        'default_transaction_read_only = on',
        'default_transaction_deferrable = on',
        'statement_timeout = 0',
        'lock_timeout = 0',
        'idle_in_transaction_session_timeout = 0',
        'idle_session_timeout = 30000',
        'extra_float_digits = -10',
        'synchronous_commit = off',
        'client_min_messages = error',
        'search_path = elsewhere, public',
      ];
      const alter = prefix.replace('$name', new URL(location).pathname.slice(1));
      await administer(values.map((value) => `${alter} ${value}`).join('; '));
      await open();
      await inUnit(async () => {
        expect(await setting('transaction_isolation')).toBe('read committed');
        expect(await setting('transaction_read_only')).toBe('off');
        expect(await setting('statement_timeout')).toBe('2s');
        expect(await setting('idle_in_transaction_session_timeout')).toBe('5s');
        expect(await setting('lock_timeout')).toMatch(/^[3-6]\d\dms$/);
        expect(await setting('idle_session_timeout')).toBe('0');
        expect(await setting('extra_float_digits')).toBe('1');
        expect(await setting('synchronous_commit')).toBe('on');
        expect(await setting('client_min_messages')).toBe('warning');
        expect(await setting('search_path')).toBe('elsewhere, public');
      });
      expect(await setting('transaction_read_only')).toBe('on');
      expect(await setting('statement_timeout')).toBe('5s');
    },
  );

  it('may use a socket, with an empty host in the address', async () => {
    const connection = await connect(location);
    const [row] = await connection.all<{ value: string }>(
      `SELECT split_part(current_setting('unix_socket_directories'), ',', 1) AS value`,
    );
    await connection.close();
    const { username, pathname, port } = new URL(location);
    await open(`postgres://${username}@${pathname}?host=${encodeURIComponent(row!.value)}&port=${port}`);
    const [session] = await sql().all<{ is_local: boolean }>('SELECT inet_server_addr() IS NULL AS is_local');
    expect(session).toEqual({ is_local: true });
  });

  describe('whose role does not see the tables', () => {
    const role = `poor_${process.pid}`;
    const start = (address: string) =>
      Database.open({ database: address, entities: [], histories: [notesHistory], migrate: false });
    const asRole = (options = '') => {
      const url = Object.assign(new URL(location), { username: role });
      if (options) url.searchParams.set('options', options);
      return url.href;
    };

    beforeEach(async () => {
      await (await open()).close();
      notes = undefined;
      await administer(`CREATE ROLE ${role} LOGIN`);
    });
    afterEach(() => administer(`DROP OWNED BY ${role}; DROP ROLE ${role}`));

    it('is refused with the missing right', async () => {
      await expect(start(asRole())).rejects.toThrow(`The role ${role} may not read public.notes_migrations: grant`);
    });

    it('is refused with the schema that its search path leaves out', async () => {
      await administer(`GRANT SELECT ON ALL TABLES IN SCHEMA public TO ${role}`);
      const started = start(asRole('-c search_path=elsewhere'));
      await expect(started).rejects.toThrow(
        `in the schema public (public.notes_migrations), but the search path of the role ${role} is elsewhere: add public`,
      );
    });

    it('is told to migrate when there is nothing to see', async () => {
      await administer('DROP TABLE notes_migrations');
      await expect(start(asRole())).rejects.toThrow('The database lacks migrations');
    });
  });

  it('keeps the search path of the address, and the limits of the mesh', async () => {
    await administer('CREATE SCHEMA app');
    const options = encodeURIComponent('-c search_path=app -c statement_timeout=0');
    await open(`${location}?options=${options}&statement_timeout=0&idle_in_transaction_session_timeout=0`);
    await inUnit(async () => {
      expect(await setting('search_path')).toBe('app');
      expect(await setting('statement_timeout')).toBe('2s');
      expect(await setting('idle_in_transaction_session_timeout')).toBe('5s');
      await notes!.add('a note');
    });
    await administer('SELECT id FROM app.note');
  });

  it('is refused in a database that has another encoding than UTF8', async () => {
    await administer(`CREATE DATABASE latin ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0`);
    const latin = Object.assign(new URL(location), { pathname: '/latin' }).href;
    try {
      const opening = Database.open({ database: latin, entities: [], histories: [], migrate: true });
      await expect(opening).rejects.toThrow('The database has the encoding LATIN1, and needs UTF8');
    } finally {
      await administer('DROP DATABASE latin');
    }
  });

  it.each([
    ['an unknown host', (url: URL) => (url.hostname = 'no.such.host.invalid')],
    ['a closed port', (url: URL) => (url.port = '1')],
    ['a database that is not there', (url: URL) => (url.pathname = '/absent')],
    ['a role that is not there', (url: URL) => (url.username = 'nobody')],
    ['TLS that the server does not speak', (url: URL) => (url.search = '?sslmode=require')],
  ])('to %s is an unavailable database', async (_, change) => {
    const url = new URL(location);
    change(url);
    const opening = Database.open({ database: url.href, entities: [], histories: [], migrate: true });
    const error = await outcome(opening);
    expect(error instanceof DatabaseUnavailable || isConnectionLost(error)).toBe(true);
  });

  it('that is lost while it is opened is an unavailable database', async () => {
    // A server that accepts every login, and hangs up at the first statement.
    const server = createServer((socket) => {
      socket.once('data', () => {
        socket.write(Buffer.from('520000000800000000' + '5a0000000549', 'hex'));
        socket.once('data', () => socket.destroy());
      });
    });
    await once(server.listen(0, '127.0.0.1'), 'listening');
    const { port } = server.address() as AddressInfo;
    const Client = await sessionClient({});
    const client = new Client({ host: '127.0.0.1', port, user: 'cabs' });
    expect(await outcome(client.connect())).toBeInstanceOf(DatabaseUnavailable);
    server.close();
  });

  it('runs a unit of work again after a deadlock', async () => {
    await open();
    await inUnit(() => Promise.all(['a', 'b'].map((id) => notes!.add(id))));
    const both = [deferred(), deferred()];
    const rename = (first: string, second: string, index: number): Promise<unknown> =>
      inUnit(async () => {
        const lock = (id: string) => sql().all('SELECT id FROM note WHERE id = $1 FOR UPDATE', [id]);
        await lock(first);
        both[index]!.resolve();
        await Promise.all(both.map(({ promise }) => promise));
        await lock(second);
        await notes!.add(`${first} before ${second}`);
      }).catch((error: unknown) => {
        // A busy machine may need more than the second that a unit of work has.
        if (error instanceof UnitTimedOut) return rename(first, second, index);
        throw error;
      });
    await Promise.all([rename('a', 'b', 0), rename('b', 'a', 1)]);
    expect(await notes!.seen()).toEqual(['a', 'a before b', 'b', 'b before a']);
  }, 15_000);

  it.each(['40001', '40P01'])(
    'repeats a unit that fails with %s a few times, and then is unavailable',
    async (code) => {
      await open();
      let runs = 0;
      const conflict = () => sql().run(`DO $$ BEGIN RAISE EXCEPTION 'x' USING ERRCODE = '${code}'; END $$`);
      const failing = inUnit(async () => {
        runs++;
        await notes!.add('never there');
        await conflict();
      });
      expect(await outcome(failing)).toBeInstanceOf(DatabaseUnavailable);
      expect(runs).toBe(5);
      runs = 0;
      await inUnit(async () => {
        await notes!.add('a note');
        if (++runs < 3) await conflict();
      });
      expect(await notes!.seen()).toEqual(['a note']);
    },
  );

  it('that became read-only is closed, and the next one is used', async () => {
    await open();
    const pid = () => sql().all<{ pid: number }>('SELECT pg_backend_pid() AS pid');
    let before: unknown;
    const writing = inUnit(async () => {
      before = await pid();
      await sql().run('SET TRANSACTION READ ONLY');
      await notes!.add('never there');
    });
    expect(await outcome(writing)).toBeInstanceOf(DatabaseUnavailable);
    await inUnit(async () => {
      expect(await pid()).not.toEqual(before);
      await notes!.add('a note');
    });
  });

  /** Each connection of both pools prepares the statement. */
  const readInAll = () => {
    const both = [deferred(), deferred()];
    const select = () => sql().all<{ id: string }>('SELECT id FROM note');
    const units = both.map(({ resolve }) =>
      inUnit(async () => {
        await select();
        resolve();
        await Promise.all(both.map(({ promise }) => promise));
      }),
    );
    return Promise.all([...units, select(), select()]);
  };

  describe.each([
    ['a column that has another type now', () => administer('ALTER TABLE note ALTER COLUMN id TYPE varchar(300)')],
    [
      'a pooler that gave the connections other sessions',
      async () => {
        // Inside of a block: the mesh closes a connection that it sees do this.
        const forget = () => sql().all("DO $$ BEGIN EXECUTE 'DEALLOCATE ALL'; END $$");
        await Promise.all([inUnit(forget), inUnit(forget), forget(), forget()]);
      },
    ],
  ])('whose statements are of no use because of %s', (_, change) => {
    beforeEach(async () => {
      await open();
      await readInAll();
      await change();
    });

    it('is replaced, and no unit and no query fails', async () => {
      await inUnit(() => notes!.add('a note'));
      await readInAll();
      expect(await sql().all('SELECT id FROM note')).toEqual([{ id: 'a note' }]);
      expect(await inUnit(() => sql().all('SELECT id FROM note'))).toEqual([{ id: 'a note' }]);
    });

    it('is replaced also when a handler catches the error in a savepoint', async () => {
      let outcomes: unknown[] = [];
      const books: unknown[][] = [];
      await Promise.all(
        numbers(2).map(() =>
          inUnit(async () => {
            const read = () => notes!.work.unit.manager.transaction(() => sql().all('SELECT id FROM note'));
            books.push((outcomes = [await outcome(read()), await outcome(read())]));
          }),
        ),
      );
      expect(books.length).toBeGreaterThan(2);
      expect(outcomes).toEqual(['done', 'done']);
    });

    it('is replaced also when a handler throws another error instead', async () => {
      const messages: string[] = [];
      const read = async () => {
        await sql()
          .all('SELECT id FROM note')
          .catch((error: unknown) => {
            messages.push(errorMessage(error));
            throw new Error('mine');
          });
      };
      await Promise.all([inUnit(read), inUnit(read)]);
      expect(messages.length).toBeGreaterThan(0);
      for (const it of messages) expect(it).toMatch(/cached plan must not change|"mesh_\w+" does not exist/);
    });
  });

  it('whose statements are always of no use is an unavailable database', async () => {
    await open();
    const failing = () =>
      sql().run(
        `DO $$ BEGIN RAISE EXCEPTION 'prepared statement "mesh_${'0'.repeat(20)}" does not exist' USING ERRCODE = '26000'; END $$`,
      );
    expect(await outcome(inUnit(failing))).toBeInstanceOf(DatabaseUnavailable);
    expect(errorMessage(await outcome(failing()))).toContain('a pooler needs pool_mode = session');
    const altering = inUnit(async () => {
      await sql().all('SELECT id FROM note');
      await sql().run('ALTER TABLE note ALTER COLUMN id TYPE varchar(300)');
      await sql().all('SELECT id FROM note');
    });
    expect(errorMessage(await outcome(altering))).toMatch(/the columns of a table change again and again/);
  });

  it('does not take a missing statement of a handler for a lost one of its own', async () => {
    await open();
    const error = await outcome(inUnit(() => sql().run('EXECUTE absent')));
    expect(error).not.toBeInstanceOf(DatabaseUnavailable);
    expect(errorMessage(error)).toContain('"absent" does not exist');
  });
});
