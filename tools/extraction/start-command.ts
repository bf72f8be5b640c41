import type { DatabaseContents } from './extraction.js';

/** The command for a shell that starts a process for the modules of one database. */
export function startCommand({ address, modules }: DatabaseContents, all: readonly string[]): string {
  const hosted = all.filter((it) => modules.includes(it));
  if (hosted.length === 0) return `\n  # ${address} has no modules any more.`;
  const others = all.filter((it) => !hosted.includes(it));
  const database = `\n  DATABASE_URL=${quoted(address)}`;
  if (others.length === 0) return `${database} npm run start:prod`;
  // Queries and deliveries go to the mesh's ports, and processes on one machine need ports of their own.
  const services = others.map((it) => `USVC_${it.toUpperCase()}=${quoted(`http://<host of ${it}>:<its MESH_PORT>`)}`);
  return [
    database,
    `MODULES=${hosted.join(',')} PORT=${quoted('<port of REST>')} MESH_PORT=${quoted('<port of the mesh>')}`,
    `MESH_TRANSPORT=knative K_SINK=${quoted('http://<address of the broker>')}`,
    ...services,
    'npm run start:prod',
  ].join(' \\\n    ');
}

/** A path may hold spaces and quotes. */
function quoted(text: string): string {
  return /^[\w:/.,@%+=-]+$/.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`;
}
