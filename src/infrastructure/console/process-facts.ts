import { hostname } from 'node:os';
import type { Dialect } from '../persistence/sql.js';
import type { ProcessFacts } from './console-feed.js';

/** What stays the same as long as the process runs. */
export function processFacts(
  application: string,
  modules: readonly string[],
  database: Dialect,
  hasBroker: boolean,
): ProcessFacts {
  const { pid, version } = process;
  const startedAt = new Date(Date.now() - process.uptime() * 1000).toISOString();
  const id = `${hostname()}-${pid}`;
  const versions = {
    node: version,
    ...(process.env.npm_package_version && { application: process.env.npm_package_version }),
  };
  return {
    process: { id, pid, application, modules, startedAt, versions },
    transport: hasBroker ? 'knative' : 'in-process',
    database,
  };
}
