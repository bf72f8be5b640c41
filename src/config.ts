import { z } from 'zod';
import type { BrokerOptions } from './infrastructure/mesh-options.js';

const seconds = (text: string) => {
  const [, days, hours, minutes, secs] = DURATION.exec(text)!;
  return Number(days ?? 0) * 86_400 + Number(hours ?? 0) * 3600 + Number(minutes ?? 0) * 60 + Number(secs ?? 0);
};
/** ISO 8601 durations, without months and years, whose length differs. */
const DURATION = /^P(?=.)(?:(\d+)D)?(?:T(?=.)(?:(\d+)H)?(?:(\d+)M)?(?:(\d+(?:\.\d+)?)S)?)?$/;
const duration = z
  .string()
  .regex(DURATION, 'expected an ISO 8601 duration such as PT0.2S or P14D')
  .transform((text) => Math.round(seconds(text) * 1000));
/** Node can't wait longer than this; a timer beyond it fires at once. */
const LONGEST_TIMER_MS = 2 ** 31 - 1;
const timer = duration.refine((ms) => ms <= LONGEST_TIMER_MS, 'expected less than 24 days');
const count = z
  .string()
  .regex(/^\d{1,5}$/, 'expected a number')
  .transform(Number);
const url = z
  .url({ protocol: /^https?$/, error: 'expected http://… or https://…' })
  .transform((text) => text.replace(/\/$/, ''));
/** Knative's K_CE_OVERRIDES: extensions that every event gets. */
const overrides = z.string().transform((text, context) => {
  const parsed = z.object({ extensions: z.record(z.string().regex(/^[a-z0-9]+$/), z.string()).nullish() });
  const result = parsed.safeParse(parseJson(text));
  if (result.success) return result.data.extensions ?? {};
  context.addIssue({ code: 'custom', message: 'expected {"extensions":{"name":"value"}}' });
  return z.NEVER;
});
const pem = z.string().includes('-----BEGIN CERTIFICATE-----', { error: 'expected certificates in PEM' });
const timeZone = z.string().refine(isTimeZone, 'expected an IANA time zone such as Europe/Warsaw');

/** Every variable that the application reads, with its default. The README explains them. */
const environment = z.object({
  NODE_ENV: z.string().default('development'),
  PORT: count.refine((port) => port < 65_536, 'expected a port').default(3000),
  DATABASE_URL: z
    .string()
    .regex(/^(sqlite:(?!:memory:).+|postgres(ql)?:\/\/.+)$/, 'expected sqlite:<path of a file> or postgres://…')
    .default('sqlite:data/cabs.db'),
  MESH_TRANSPORT: z.enum(['in-process', 'knative']).default('in-process'),
  MESH_RECEIVE: z.enum(['true', 'false']).optional(),
  K_SINK: url.optional(),
  K_CE_OVERRIDES: overrides.optional(),
  K_CA_CERTS: pem.optional(),
  MODULES: z.string().optional(),
  MESH_OIDC_ISSUER: url.optional(),
  MESH_OIDC_AUDIENCE: z.string().optional(),
  MESH_OIDC_JWKS: url.optional(),
  MESH_OIDC_CREDENTIALS_FILE: z.string().optional(),
  MESH_OIDC_TOKEN_FILE: z.string().optional(),
  MESH_ALLOW_SQLITE: z.enum(['true', 'false']).default('false'),
  KUBERNETES_SERVICE_HOST: z.string().optional(),
  MESH_RETRY: count.default(10),
  MESH_BACKOFF_DELAY: duration.default(200),
  MESH_BACKOFF_POLICY: z.enum(['exponential', 'linear']).default('exponential'),
  MESH_TIMEOUT: timer.refine((ms) => ms > 0, 'expected more than 0').default(30_000),
  MESH_INBOX_RETENTION: duration.default(14 * 86_400_000),
  MESH_DEAD_LETTER_RETENTION: duration.default(30 * 86_400_000),
  MESH_REPLAY_WINDOW: duration.default(7 * 86_400_000),
  MESH_NOTIFY: z.enum(['true', 'false']).default('true'),
  MESH_RECONCILE_EVERY: timer.default(3_600_000),
  MESH_RECONCILE_AFTER: duration.default(300_000),
  MESH_RECONCILE_PACE: count.refine((pace) => pace > 0, 'expected more than 0').default(200),
  MESH_ADMIN_TOKEN: z.string().min(1).optional(),
  SHUTDOWN_GRACE: timer.default(20_000),
  LOG_LEVEL: z.enum(['fatal', 'error', 'warn', 'info', 'debug', 'trace', 'silent']).default('info'),
  SEED: z.enum(['demo', 'none']).optional(),
  TARIFF_TIME_ZONE: timeZone.default('Europe/Warsaw'),
});

/** What the environment says, in the application's words. Durations in ms. */
export interface Config {
  /** The names of the modules that this process hosts. */
  readonly modules: readonly string[];
  /** Absent where messages neither leave the process nor come from outside. */
  readonly broker?: BrokerOptions;
  readonly isDevelopment: boolean;
  readonly port: number;
  readonly databaseUrl: string;
  readonly delivery: {
    readonly retry: number;
    readonly backoffDelayMs: number;
    readonly backoffPolicy: 'exponential' | 'linear';
    readonly timeoutMs: number;
  };
  readonly retention: { readonly inboxMs: number; readonly deadLetterMs: number; readonly replayWindowMs: number };
  readonly reconciliation: {
    readonly everyMs: number;
    /** Since when a ride has to be over to be looked at. */
    readonly afterMs: number;
    readonly perSecond: number;
  };
  /** Whether processes on one PostgreSQL wake each other. */
  readonly notify: boolean;
  readonly adminToken?: string;
  readonly shutdownGraceMs: number;
  readonly logLevel: string;
  readonly seed: 'demo' | 'none';
  readonly tariffTimeZone: string;
}

export const CONFIG = Symbol('CONFIG');

/**
 * Reads the environment, once. An empty variable counts as absent.
 * @param modules the names of all modules there are
 * @param purpose a migration needs no broker
 * @throws Error of one line that names the variables at fault
 */
export function readConfig(
  variables: Record<string, string | undefined>,
  modules: readonly string[],
  purpose: 'start' | 'migrate' = 'start',
): Config {
  const given = Object.fromEntries(
    Object.entries(variables).filter(([, value]) => value !== undefined && value !== ''),
  );
  const parsed = environment.safeParse(given);
  const faults = parsed.error?.issues.map(({ path, message }) => `${path.join('.')} (${message})`) ?? [];
  const services = readServices(given, modules, faults);
  if (!parsed.success) throw notUnderstood(faults);
  const env = parsed.data;
  const hosted = readModules(env.MODULES, modules, faults);
  if (purpose === 'start') faults.push(...contradictions(env, hosted, modules));
  if (faults.length > 0) throw notUnderstood(faults);
  const isDevelopment = env.NODE_ENV !== 'production';
  return {
    isDevelopment,
    modules: hosted,
    ...((env.MESH_TRANSPORT === 'knative' || env.MESH_RECEIVE === 'true') && { broker: brokerOf(env, services) }),
    port: env.PORT,
    databaseUrl: env.DATABASE_URL,
    delivery: {
      retry: env.MESH_RETRY,
      backoffDelayMs: env.MESH_BACKOFF_DELAY,
      backoffPolicy: env.MESH_BACKOFF_POLICY,
      timeoutMs: env.MESH_TIMEOUT,
    },
    retention: {
      inboxMs: env.MESH_INBOX_RETENTION,
      deadLetterMs: env.MESH_DEAD_LETTER_RETENTION,
      replayWindowMs: env.MESH_REPLAY_WINDOW,
    },
    reconciliation: {
      everyMs: env.MESH_RECONCILE_EVERY,
      afterMs: env.MESH_RECONCILE_AFTER,
      perSecond: env.MESH_RECONCILE_PACE,
    },
    notify: env.MESH_NOTIFY === 'true',
    ...(env.MESH_ADMIN_TOKEN && { adminToken: env.MESH_ADMIN_TOKEN }),
    shutdownGraceMs: env.SHUTDOWN_GRACE,
    logLevel: env.LOG_LEVEL,
    seed: env.SEED ?? (isDevelopment ? 'demo' : 'none'),
    tariffTimeZone: env.TARIFF_TIME_ZONE,
  };
}

type Environment = z.infer<typeof environment>;

function notUnderstood(faults: readonly string[]): Error {
  return new Error(`The environment is not understood: ${faults.join(', ')}`);
}

/** `MODULES`: a list, or `none` for a process that only keeps dead letters; all of them unless told. */
function readModules(text: string | undefined, all: readonly string[], faults: string[]): readonly string[] {
  if (text === undefined) return all;
  if (text.trim() === 'none') return [];
  const names = new Set(text.split(',').map((name) => name.trim()));
  const unknown = [...names].filter((name) => !all.includes(name));
  if (unknown.length > 0)
    faults.push(`MODULES (there is no ${unknown.join(', ')}; there are ${all.join(', ')}, or none)`);
  return all.filter((name) => names.has(name));
}

/** `USVC_<MODULE>`: where the modules live that are hosted elsewhere. */
function readServices(given: Record<string, string | undefined>, all: readonly string[], faults: string[]) {
  const services: Record<string, string> = {};
  for (const [variable, value] of Object.entries(given)) {
    const [, name] = /^USVC_(.+)$/.exec(variable) ?? [];
    if (!name) continue;
    const known = all.includes(name.toLowerCase());
    const parsed = url.safeParse(value);
    if (!known) faults.push(`${variable} (there is no module ${name.toLowerCase()})`);
    else if (!parsed.success) faults.push(`${variable} (expected http://… or https://…)`);
    else services[name.toLowerCase()] = parsed.data;
  }
  return services;
}

/** What is understood, each by itself, and doesn't go together. */
function contradictions(env: Environment, hosted: readonly string[], all: readonly string[]): string[] {
  const faults: string[] = [];
  const isKnative = env.MESH_TRANSPORT === 'knative';
  if (isKnative && !env.K_SINK && hosted.length > 0)
    faults.push('K_SINK (MESH_TRANSPORT=knative needs the address of a broker)');
  if (!isKnative && hosted.length < all.length)
    faults.push('MODULES (modules in different processes need MESH_TRANSPORT=knative)');
  if (isKnative && env.MESH_RECEIVE === 'false') faults.push('MESH_RECEIVE (with knative, a broker has to deliver)');
  if (!env.MESH_OIDC_ISSUER !== !env.MESH_OIDC_AUDIENCE)
    faults.push('MESH_OIDC_ISSUER, MESH_OIDC_AUDIENCE (one is of no use without the other)');
  if (env.KUBERNETES_SERVICE_HOST && env.DATABASE_URL.startsWith('sqlite:') && env.MESH_ALLOW_SQLITE !== 'true')
    faults.push(
      'DATABASE_URL (SQLite in a cluster is gone with its pod: give postgres://…, or say MESH_ALLOW_SQLITE=true when the disk stays)',
    );
  return faults;
}

function brokerOf(env: Environment, services: Readonly<Record<string, string>>): BrokerOptions {
  const { MESH_OIDC_ISSUER: issuer, MESH_OIDC_AUDIENCE: audience, MESH_OIDC_JWKS: jwksUrl } = env;
  const credentialsFile = env.MESH_OIDC_CREDENTIALS_FILE;
  const keys = { ...(jwksUrl && { jwksUrl }), ...(credentialsFile && { credentialsFile }) };
  return {
    services,
    // Who only receives is on the way back to the in-process transport: messages stay, but a broker still has some.
    ...(env.K_SINK && env.MESH_TRANSPORT === 'knative' && { sink: env.K_SINK }),
    ...(env.K_CE_OVERRIDES && { extensions: env.K_CE_OVERRIDES }),
    ...(env.K_CA_CERTS && { caCerts: env.K_CA_CERTS }),
    ...(env.MESH_OIDC_TOKEN_FILE && { tokenFile: env.MESH_OIDC_TOKEN_FILE }),
    ...(issuer && audience && { tokens: { issuer, audience, ...keys } }),
  };
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text) as unknown;
  } catch {
    return undefined;
  }
}

function isTimeZone(name: string): boolean {
  try {
    new Intl.DateTimeFormat('en', { timeZone: name });
    return true;
  } catch {
    return false;
  }
}
