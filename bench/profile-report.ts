import type { Costs, NotedStatement } from './profiled-application.js';

/** What was measured on one database. */
export interface DatabaseProfile {
  readonly name: string;
  /** Rides one after another. */
  readonly alone: Costs;
  /** Rides with several users at a time. */
  readonly together: Costs;
  /** Time of each source file itself, with several users at a time, in ms. */
  readonly selfMs: Readonly<Record<string, number>>;
}

/** What statements are for, by their text: the first pattern that matches. */
const PURPOSES: readonly (readonly [string, RegExp])[] = [
  ['transactions', /^\s*(BEGIN|START TRANSACTION|COMMIT|ROLLBACK|SAVEPOINT|RELEASE|SET LOCAL)/i],
  ['claim and inbox', /INTO mesh_inbox|FROM mesh_inbox/],
  ['claim and inbox', /^\s*DELETE FROM mesh_delivery/],
  ['deliveries written', /INTO mesh_delivery/],
  ['deliveries read', /mesh_delivery/],
  ['outbox written', /^\s*INSERT INTO mesh_outbox/],
  ['outbox emptied', /^\s*DELETE FROM mesh_outbox/],
  ['outbox read', /mesh_outbox/],
  ['leases and other tables of the mesh', /mesh_|pg_/],
  ['the modules', /./],
];

function purposeOf({ text }: NotedStatement): string {
  return PURPOSES.find(([, pattern]) => pattern.test(text))![0];
}

/** Whose code a file is. */
function placeOf(file: string): string {
  if (file === '(garbage collector)') return 'garbage collection';
  if (file === '(idle)') return IDLE;
  if (file.startsWith('(')) return 'native code and kernel';
  const [, packageName] = /node_modules\/((?:@[^/]+\/)?[^/]+)\/(?!.*node_modules\/)/.exec(file) ?? [];
  if (packageName) return packageName;
  const [, folder] = /dist\/src\/(modules|infrastructure\/\w+)/.exec(file) ?? [];
  if (folder) return `src/${folder}`;
  if (file.includes('profile-agent') || file === 'node:inspector') return PROFILE;
  return /^node:.*(http|net|stream)/.test(file)
    ? 'Node: HTTP and sockets'
    : file.startsWith('node:')
      ? 'Node: other'
      : 'other';
}

/** What isn't of the application. */
const [IDLE, PROFILE] = ['idle', 'the profile'];

/** The report, in Markdown. */
export function profileReport(
  profiles: readonly DatabaseProfile[],
  { machine, users }: { machine: string; users: number },
) {
  return [
    '# Profile of a ride',
    `${new Date().toISOString().slice(0, 10)}, ${machine}. Written by \`npm run bench:profile\`. Figures are per ride unless stated otherwise.
A round trip is a statement on PostgreSQL that is not sent together with an earlier one of its connection.`,
    '## Processor time',
    table(
      ['', ...profiles.map(({ name }) => name)],
      [
        [
          `rides per second, ${users} users`,
          ...profiles.map(({ together }) => ((1000 * together.rides) / together.ms).toFixed(0)),
        ],
        ['process, ms', ...profiles.map(({ together }) => perRide(together, together.cpuMs, 2))],
        [
          'server, ms',
          ...profiles.map(({ together }) => (together.serverMs ? perRide(together, together.serverMs, 2) : '')),
        ],
        ['wall clock, ms', ...profiles.map(({ together }) => perRide(together, together.ms, 2))],
      ],
    ),
    'Where the time of the process goes, in % of its samples, without idle ones and those of the profile itself:',
    places(profiles),
    ...profiles.flatMap(databaseReport),
    '',
  ].join('\n\n');
}

function databaseReport({ name, alone, together }: DatabaseProfile): string[] {
  const purposes = [...new Set(PURPOSES.map(([purpose]) => purpose))];
  const count = (costs: Costs, purpose: string, what: 'count' | 'roundTrips') =>
    sum(costs.statements.filter((it) => purposeOf(it) === purpose).map((it) => it[what])) / costs.rides;
  const rows = purposes.map((purpose) => [
    purpose,
    count(alone, purpose, 'count').toFixed(1),
    count(together, purpose, 'count').toFixed(1),
    ...(name === 'PostgreSQL'
      ? [count(alone, purpose, 'roundTrips').toFixed(1), count(together, purpose, 'roundTrips').toFixed(1)]
      : []),
  ]);
  const totals = rows[0]!.slice(1).map((_, index) => sum(rows.map((row) => Number(row[index + 1]))).toFixed(1));
  const head = ['statements', 'alone', 'together', ...(name === 'PostgreSQL' ? ['round trips alone', 'together'] : [])];
  const messages = [...new Set(alone.statements.map(({ message }) => message))].filter(Boolean).sort();
  return [
    `## Statements on ${name}`,
    table(head, [...rows, ['**all**', ...totals]]),
    'Statements of the modules by message, one ride alone:',
    table(
      ['message', 'statements'],
      messages.map((message) => [message, ofMessage(alone, message)]),
    ),
  ];
}

/** The statements of the modules in the handler of a message. */
function ofMessage({ statements, rides }: Costs, message: string): string {
  const counts = new Map<string, number>();
  for (const it of statements) {
    if (it.message !== message || purposeOf(it) !== 'the modules') continue;
    counts.set(shortened(it.text), (counts.get(shortened(it.text)) ?? 0) + it.count);
  }
  return [...counts].map(([text, count]) => `${(count / rides).toFixed(0)} × ${text}`).join('<br>');
}

/** `UPDATE rides_transit`, `SELECT … FROM drivers_driver`. */
function shortened(text: string): string {
  const [, verb = '', table = ''] =
    /^\s*(\w+)[\s\S]*?"?\b((?:rides|drivers|loyalty|invoicing|geolocation|clients)_\w+)"?/.exec(text) ?? [];
  return table ? `${verb.toUpperCase()} ${table}` : text.slice(0, 60);
}

/** Places with a smaller share than this on both databases are left out, in %. */
const SMALL = 0.5;

function places(profiles: readonly DatabaseProfile[]): string {
  const shares = profiles.map(({ selfMs }) => {
    const ofPlace = new Map<string, number>();
    for (const [file, ms] of Object.entries(selfMs)) ofPlace.set(placeOf(file), (ofPlace.get(placeOf(file)) ?? 0) + ms);
    ofPlace.delete(IDLE);
    ofPlace.delete(PROFILE);
    const busy = sum([...ofPlace.values()]);
    return new Map([...ofPlace].map(([place, ms]) => [place, (100 * ms) / busy]));
  });
  const found = [...new Set(shares.flatMap((of) => [...of.keys()]))].map((place) => ({
    place,
    of: shares.map((share) => share.get(place) ?? 0),
  }));
  const rows = found
    .filter(({ of }) => Math.max(...of) >= SMALL)
    .sort((a, b) => sum(b.of) - sum(a.of))
    .map(({ place, of }) => [place, ...of.map((share) => `${share.toFixed(1)} %`)]);
  return table(['code of', ...profiles.map(({ name }) => name)], rows);
}

function perRide({ rides }: Costs, value: number, digits: number): string {
  return (value / rides).toFixed(digits);
}

function sum(values: readonly number[]): number {
  return values.reduce((total, it) => total + it, 0);
}

function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]) => `| ${cells.join(' | ')} |`;
  return [line(head), line(head.map((_, index) => (index === 0 ? '---' : '--:'))), ...rows.map(line)].join('\n');
}
