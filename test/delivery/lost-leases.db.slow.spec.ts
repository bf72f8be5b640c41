import { startCabs, eventually, type Cabs } from '../support/cabs.js';
import { DATABASES } from '../support/databases.js';
import { connect, type Connection } from '../support/notes.js';

const postgres = DATABASES.find(({ kind }) => kind === 'postgres');

(postgres ? describe : describe.skip)('A process that gets no leases', () => {
  let admin: Connection;
  let url: string;
  let role: string;
  let cabs: Cabs;

  beforeEach(async () => {
    const location = new URL(await postgres!.fresh());
    admin = await connect(location.href);
    role = `clerk_${process.pid}_${Math.random().toString(36).slice(2)}`;
    await admin.run(`CREATE ROLE ${role} LOGIN; GRANT CREATE ON SCHEMA public TO ${role}`);
    location.username = role;
    url = location.href;
    cabs = await startCabs(url);
  });
  afterEach(async () => {
    await cabs.close();
    await admin.run(`DROP OWNED BY ${role}; DROP ROLE ${role}`);
    await admin.close();
  });

  const ready = async () => (await cabs.http.get('/health/ready')) as { status: number; body: { detail?: string } };
  const held = async () => {
    const [row] = await admin.all<{ n: number }>('SELECT count(*)::int AS n FROM mesh_lease WHERE holder IS NOT NULL');
    return row!.n;
  };
  const endSession = () =>
    admin.run(`SELECT pg_terminate_backend(pid) FROM pg_stat_activity
               WHERE application_name = 'mesh leases' AND datname = current_database()`);

  it.each([
    ['renames the table', () => 'ALTER TABLE mesh_lease RENAME TO gone', () => 'ALTER TABLE gone RENAME TO mesh_lease'],
    [
      'takes the rights away',
      () => `ALTER TABLE mesh_lease OWNER TO CURRENT_USER`,
      () => `ALTER TABLE mesh_lease OWNER TO ${role}`,
    ],
    [
      'leaves no connection for the leases',
      () => `ALTER ROLE ${role} CONNECTION LIMIT 0`,
      () => `ALTER ROLE ${role} CONNECTION LIMIT -1`,
    ],
  ])(
    'is not ready while an administrator %s, and heals',
    async (_, spoil, repair) => {
      expect((await ready()).status).toBe(200);
      await admin.run(spoil());
      await endSession();
      const lost = await eventually(ready, ({ status }) => status !== 200, 20_000);
      expect(lost).toMatchObject({ status: 503, body: { detail: expect.stringContaining('gets no leases') } });
      await admin.run(repair());
      await eventually(ready, ({ status }) => status === 200, 20_000);
      await eventually(held, (n) => n > 0);
    },
    60_000,
  );

  it('makes deleted rows again, with larger tokens', async () => {
    const tokens = () =>
      admin.all<{ part: string; shard: number; token: string }>('SELECT * FROM mesh_lease ORDER BY 1, 2');
    const before = await tokens();
    expect(before.length).toBeGreaterThan(0);
    await admin.run('TRUNCATE mesh_replica, mesh_lease');
    await eventually(held, (n) => n === before.length, 20_000);
    const after = await tokens();
    expect(after.every(({ token }, index) => Number(token) > Number(before[index]!.token))).toBe(true);
    expect((await ready()).status).toBe(200);
  }, 60_000);

  it('takes the shards of a process that died before the clock of the database was set back', async () => {
    await eventually(held, (n) => n > 0);
    await admin.run(`WITH dead AS (
        INSERT INTO mesh_replica (replica, part, has_session, expires_at)
        SELECT 1, part, false, clock_timestamp() + interval '2 hours' FROM mesh_lease GROUP BY part RETURNING replica)
      UPDATE mesh_lease SET holder = 1, token = token + 1 WHERE shard % 2 = 0`);
    const heldByDead = async () => {
      const [row] = await admin.all<{ n: number }>('SELECT count(*)::int AS n FROM mesh_lease WHERE holder = 1');
      return row!.n;
    };
    await eventually(heldByDead, (n) => n === 0, 20_000);
    expect((await ready()).status).toBe(200);
  }, 60_000);
});
