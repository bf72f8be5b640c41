import type { DatabaseContents } from './extraction.js';

/** The command for a shell that starts a process for the modules of one database. */
export function startCommand({ address, modules }: DatabaseContents, all: readonly string[]): string {
  const hosted = all.filter((it) => modules.includes(it));
  if (hosted.length === 0) return `\n  # ${address} has no modules any more.`;
  const others = all.filter((it) => !hosted.includes(it));
  const database = `\n  DATABASE_URL=${quoted(address)}`;
  if (others.length === 0) return `${database} npm run start:prod`;
  const services = others.map((it) => `USVC_${it.toUpperCase()}=${quoted(`http://<address of ${it}>`)}`);
  return [
    database,
    `MODULES=${hosted.join(',')} MESH_TRANSPORT=knative K_SINK=${quoted('http://<address of the broker>')}`,
    ...services,
    'npm run start:prod',
  ].join(' \\\n    ');
}

/** A path may hold spaces and quotes. */
function quoted(text: string): string {
  return /^[\w:/.,@%+=-]+$/.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`;
}
