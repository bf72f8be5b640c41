import { z } from 'zod';

/* The environment variables of the application, their syntax and their defaults. README.md explains each. */

const DURATION = /^P(?=.)(?:(\d+)D)?(?:T(?=.)(?:(\d+)H)?(?:(\d+)M)?(?:(\d+(?:\.\d+)?)S)?)?$/;
/** The longest delay of setTimeout(): with a longer one it would run at once. */
const MAX_TIMER_MS = 2 ** 31 - 1;
const DAY_MS = 86_400_000;

/** An ISO 8601 duration, in ms. Months and years differ in length, so they are refused. */
const duration = z
  .string()
  .regex(DURATION, 'expected an ISO 8601 duration such as PT0.2S or P14D')
  .transform((text) => {
    const [, days, hours, minutes, seconds] = DURATION.exec(text)!;
    const inSeconds = Number(hours ?? 0) * 3600 + Number(minutes ?? 0) * 60 + Number(seconds ?? 0);
    return Number(days ?? 0) * DAY_MS + Math.round(inSeconds * 1000);
  });
const timer = duration.refine((ms) => ms <= MAX_TIMER_MS, 'expected less than 24 days');
const integer = z
  .string()
  .regex(/^\d+$/, 'expected an integer of at least 0')
  .transform(Number)
  .refine((number) => number < 100_000, 'expected at most 99999');
const url = z
  .url({ protocol: /^https?$/, error: 'expected http://… or https://…' })
  .transform((text) => text.replace(/\/$/, ''));
const boolean = oneOf('true', 'false');
/** The extensions that Knative's K_CE_OVERRIDES adds to every event. */
const overrides = z.string().transform((text, context) => {
  const expected = z.object({ extensions: z.record(z.string().regex(/^[a-z0-9]+$/), z.string()).nullish() });
  const result = expected.safeParse(parseJson(text));
  if (result.success) return result.data.extensions ?? {};
  context.addIssue({ code: 'custom', message: 'expected {"extensions":{"name":"value"}}, names in a-z and 0-9' });
  return z.NEVER;
});
const pem = z.string().includes('-----BEGIN CERTIFICATE-----', { error: 'expected certificates in PEM' });
const timeZone = z.string().refine(isTimeZone, 'expected an IANA time zone such as Europe/Warsaw');

export const environmentSchema = z.object({
  NODE_ENV: z.string().default('development'),
  PORT: integer.refine((port) => port < 65_536, 'expected a port below 65536').default(3000),
  DATABASE_URL: z
    .string()
    .regex(/^(sqlite:(?!:memory:).+|postgres(ql)?:\/\/.+)$/, 'expected sqlite:<path of a file> or postgres://…')
    .default('sqlite:data/cabs.db'),
  MESH_TRANSPORT: oneOf('in-process', 'knative').default('in-process'),
  MESH_RECEIVE: boolean.optional(),
  K_SINK: url.optional(),
  K_CE_OVERRIDES: overrides.optional(),
  K_CA_CERTS: pem.optional(),
  MODULES: z.string().optional(),
  MESH_OIDC_ISSUER: url.optional(),
  MESH_OIDC_AUDIENCE: z.string().optional(),
  MESH_OIDC_JWKS: url.optional(),
  MESH_OIDC_CREDENTIALS_FILE: z.string().optional(),
  MESH_OIDC_TOKEN_FILE: z.string().optional(),
  MESH_ALLOW_SQLITE: boolean.default('false'),
  KUBERNETES_SERVICE_HOST: z.string().optional(),
  MESH_RETRY: integer.default(10),
  MESH_BACKOFF_DELAY: duration.default(200),
  MESH_BACKOFF_POLICY: oneOf('exponential', 'linear').default('exponential'),
  MESH_TIMEOUT: timer.refine((ms) => ms > 0, 'expected more than 0').default(30_000),
  MESH_INBOX_RETENTION: duration.default(14 * DAY_MS),
  MESH_DEAD_LETTER_RETENTION: duration.default(30 * DAY_MS),
  MESH_REPLAY_WINDOW: duration.default(7 * DAY_MS),
  MESH_NOTIFY: boolean.default('true'),
  MESH_RECONCILE_EVERY: timer.default(3_600_000),
  MESH_RECONCILE_AFTER: duration.default(300_000),
  MESH_RECONCILE_PACE: integer.refine((pace) => pace > 0, 'expected more than 0').default(200),
  MESH_ADMIN_TOKEN: z.string().min(1).optional(),
  SHUTDOWN_GRACE: timer.default(20_000),
  LOG_LEVEL: oneOf('fatal', 'error', 'warn', 'info', 'debug', 'trace', 'silent').default('info'),
  SEED: oneOf('demo', 'none').optional(),
  TARIFF_TIME_ZONE: timeZone.default('Europe/Warsaw'),
});

export type Environment = z.infer<typeof environmentSchema>;

/** The value of `USVC_<MODULE>`. */
export const serviceUrl = url;

/** Values that may contain a password or a token: error messages leave them out. */
export const SECRETS: readonly string[] = ['DATABASE_URL', 'MESH_ADMIN_TOKEN', 'K_CE_OVERRIDES', 'K_CA_CERTS'];

function oneOf<const Value extends string>(...values: [Value, ...Value[]]) {
  return z.enum(values, { error: `expected ${values.join(' or ')}` });
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
