import 'reflect-metadata';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { cpus, tmpdir } from 'node:os';
import { join } from 'node:path';
import { runCommand } from '../tools/command-line.js';
import { startPostgres } from '../tools/postgres.js';
import { ROOT } from '../tools/source.js';
import { buildApplication } from '../workshop/runner/step-directory.js';
import { restartOnMeasuredNode } from './measured-node.js';
import { profileReport, type DatabaseProfile } from './profile-report.js';
import { ProfiledApplication, type Costs } from './profiled-application.js';
import { USERS } from './transit-load.js';

/*
 * Where the time of a ride goes: the statements of each message, and the processor time under load, on both databases.
 */

const USAGE = `npm run bench:profile

  Counts the statements of a ride by message, measures where its processor time goes, and writes bench/PROFILE.md. Takes
  about a minute. The machine should have nothing else to do.`;

/** Rounds before the measured ones, so that the code is compiled and the statements are prepared. */
const WARM_UP = 5;
/** Rides one after another, for the counts of statements. */
const ALONE = 20;
/** Rides with several users at a time, for the processor time. */
const TOGETHER = 400;

async function profile(name: string, database: string, data: string, server?: number): Promise<DatabaseProfile> {
  const application = await ProfiledApplication.open(database, data);
  const settle = (rides: number, users: number, cpu = false) =>
    application.settle(rides, users, { cpu, ...(server !== undefined && { server }) });
  try {
    for (let round = 0; round < WARM_UP; round++) await settle(TOGETHER, USERS);
    const apart: Costs[] = [];
    // Each when the one before is settled.
    for (let ride = 0; ride < ALONE; ride++) apart.push(await settle(1, 1));
    const alone = sumOf(apart);
    const together = await settle(TOGETHER, USERS);
    const sampled = await settle(TOGETHER, USERS, true);
    return { name, alone, together, selfMs: sampled.selfMs! };
  } finally {
    await application.close();
  }
}

function sumOf(costs: readonly Costs[]): Costs {
  const sum = (of: 'rides' | 'ms' | 'cpuMs' | 'serverMs') => costs.reduce((total, it) => total + it[of], 0);
  const statements = costs.flatMap((it) => it.statements);
  return { rides: sum('rides'), ms: sum('ms'), cpuMs: sum('cpuMs'), serverMs: sum('serverMs'), statements };
}

await runCommand({ usage: USAGE, options: {}, formatError: (error) => (error as Error).stack! }, async () => {
  restartOnMeasuredNode();
  buildApplication();
  const folder = mkdtempSync(join(tmpdir(), 'cabs-profile-'));
  const postgres = await startPostgres();
  try {
    const profiles = [await profile('SQLite', `sqlite:${join(folder, 'cabs.db')}`, folder)];
    if (postgres) profiles.push(await profile('PostgreSQL', await postgres.newDatabase(), folder, postgres.pid));
    const machine = `${cpus()[0]?.model.trim()}, ${cpus().length} cores, Node ${process.version}`;
    const text = profileReport(profiles, { machine, users: USERS });
    console.log(text);
    writeFileSync(join(ROOT, 'bench/PROFILE.md'), text);
  } finally {
    await postgres?.stop();
    rmSync(folder, { recursive: true, force: true });
  }
});
process.exit();
