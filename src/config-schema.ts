import { z } from 'zod';
import { assertExtensions } from './infrastructure/cloudevents/attributes.js';
import { durationMs, durationText } from './infrastructure/contracts/schemas.js';
import { ADMIN_TOKEN, ADMIN_TOKEN_RULE } from './infrastructure/http/administration.js';
import { isKeyUrl } from './infrastructure/http/oidc/key-url.js';
import { addressProblem } from './infrastructure/persistence/database-address.js';

/* The environment variables of the application, their syntax and their defaults. README.md explains each. */

/** The longest delay of setTimeout(): with a longer one it would run at once. */
const MAX_TIMER_MS = 2 ** 31 - 1;
const DAY_MS = 86_400_000;

/** In ms. */
const duration = durationText.transform(durationMs);
const timer = duration.refine((ms) => ms <= MAX_TIMER_MS, 'expected less than 24 days');
const integer = z
  .string()
  .regex(/^\d+$/, 'expected an integer of at least 0')
  .transform(Number)
  .refine((number) => number < 100_000, 'expected at most 99999');
const port = integer.refine((number) => number < 65_536, 'expected a port below 65536');
const url = z
  .url({ protocol: /^https?$/, error: 'expected http://… or https://…' })
  .transform((text) => text.replace(/\/$/, ''));
/** It is compared with the `iss` of tokens, so it stays as it is written: some issuers end with a slash. */
const issuer = z
  .string()
  .refine(isIssuer, 'expected https://… (on this machine also http://…) without query or fragment');
const keyUrl = z.string().refine(isKeyUrl, 'expected https://… (on this machine also http://…)');
const boolean = oneOf('true', 'false');
const list = z
  .string()
  .transform((text) => text.split(',').map((it) => it.trim()))
  .refine((entries) => entries.every((it) => it !== ''), 'expected a list with commas');
/** The extensions that Knative's K_CE_OVERRIDES adds to every event. */
const overrides = z.string().transform((text, context) => {
  const expected = z.object({ extensions: z.record(z.string().regex(/^[a-z0-9]+$/), z.string()).nullish() });
  const result = expected.safeParse(parseJson(text));
  if (result.success) {
    const extensions = result.data.extensions ?? {};
    try {
      assertExtensions(extensions);
      return extensions;
    } catch (error) {
      context.addIssue({ code: 'custom', message: `invalid extension ${(error as Error).message}` });
      return z.NEVER;
    }
  }
  context.addIssue({ code: 'custom', message: 'expected {"extensions":{"name":"value"}}, names in a-z and 0-9' });
  return z.NEVER;
});
const pem = z.string().includes('-----BEGIN CERTIFICATE-----', { error: 'expected certificates in PEM' });
const databaseAddress = z.string().superRefine((text, context) => {
  const message = addressProblem(text);
  if (message) context.addIssue({ code: 'custom', message });
});
const timeZone = z.string().refine(isTimeZone, 'expected an IANA time zone such as Europe/Warsaw');

export const environmentSchema = z.object({
  NODE_ENV: oneOf('production', 'development', 'test').default('development'),
  PORT: port.default(3000),
  REST_PORT: port.optional(),
  MESH_PORT: port.optional(),
  DATABASE_URL: databaseAddress.default('sqlite:data/cabs.db'),
  DATABASE_URL_FILE: z.string().optional(),
  MESH_TRANSPORT: oneOf('in-process', 'knative').default('in-process'),
  MESH_RECEIVE: boolean.optional(),
  K_SINK: url.optional(),
  K_CE_OVERRIDES: overrides.optional(),
  K_CA_CERTS: pem.optional(),
  MODULES: z.string().optional(),
  AUTH: oneOf('jwt', 'none').optional(),
  AUTH_ISSUER: issuer.optional(),
  AUTH_AUDIENCE: z.string().optional(),
  MESH_OIDC_ISSUER: issuer.optional(),
  MESH_OIDC_AUDIENCE: z.string().optional(),
  MESH_OIDC_JWKS: keyUrl.optional(),
  MESH_OIDC_CREDENTIALS_FILE: z.string().optional(),
  MESH_OIDC_TOKEN_FILE: z.string().optional(),
  MESH_OIDC_SUBJECTS: list.optional(),
  MESH_OIDC_CALLERS: list.optional(),
  MESH_OIDC_QUERY_TOKEN_FILE: z.string().optional(),
  MESH_ALLOW_ANONYMOUS: boolean.default('false'),
  MESH_ALLOW_SQLITE: boolean.default('false'),
  KUBERNETES_SERVICE_HOST: z.string().optional(),
  MESH_RETRY: integer.default(10),
  MESH_BACKOFF_DELAY: duration.default(200),
  MESH_BACKOFF_POLICY: oneOf('exponential', 'linear').default('exponential'),
  MESH_TIMEOUT: timer.refine((ms) => ms > 0, 'expected more than 0').default(30_000),
  MESH_PUBLISH_TIMEOUT: timer.refine((ms) => ms > 0, 'expected more than 0').optional(),
  MESH_UNKNOWN_TYPE_GRACE: duration.default(DAY_MS),
  MESH_INBOX_RETENTION: duration.default(14 * DAY_MS),
  MESH_DEAD_LETTER_RETENTION: duration.default(30 * DAY_MS),
  MESH_REPLAY_WINDOW: duration.default(7 * DAY_MS),
  MESH_JOURNAL: duration.optional(),
  REPEAT_GUARD_RETENTION: duration.default(400 * DAY_MS),
  MESH_NOTIFY: boolean.default('true'),
  MESH_RECONCILE_EVERY: timer.default(3_600_000),
  MESH_RECONCILE_AFTER: duration.default(300_000),
  MESH_RECONCILE_PACE: integer.refine((pace) => pace > 0, 'expected more than 0').default(200),
  MESH_ADMIN_TOKEN: z.string().regex(ADMIN_TOKEN, `expected ${ADMIN_TOKEN_RULE}`).optional(),
  MESH_READ_TOKEN: z.string().regex(ADMIN_TOKEN, `expected ${ADMIN_TOKEN_RULE}`).optional(),
  MESH_READ_TOKEN_FILE: z.string().optional(),
  MAX_WAITING_REQUESTS: integer.default(20),
  MESH_ADMIN_TOKEN_FILE: z.string().optional(),
  SHUTDOWN_DELAY: timer.optional(),
  SHUTDOWN_GRACE: timer.default(20_000),
  API_PAGE: boolean.optional(),
  LOG_LEVEL: oneOf('fatal', 'error', 'warn', 'info', 'debug', 'trace', 'silent').default('info'),
  SEED: oneOf('demo', 'none').optional(),
  TARIFF_TIME_ZONE: timeZone.default('Europe/Warsaw'),
});

export type Environment = z.infer<typeof environmentSchema>;

/** The value of `USVC_<MODULE>`. */
export const serviceUrl = url;

/** Values that may contain a password or a token: error messages leave them out. */
const SECRETS: readonly string[] = [
  'DATABASE_URL',
  'MESH_ADMIN_TOKEN',
  'MESH_READ_TOKEN',
  'K_CE_OVERRIDES',
  'K_CA_CERTS',
];

/** One line of an error. A value that could be or contain a secret is left out. */
export function problem(name: string, message: string, value?: string): string {
  const isShown = value !== undefined && !SECRETS.includes(name) && !value.includes('@');
  return `Invalid environment variable ${name}: ${message}${isShown ? `, got ${JSON.stringify(value)}` : ''}.`;
}

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

function isIssuer(text: string): boolean {
  return /^[^?#@]+$/.test(text) && isKeyUrl(text);
}

function isTimeZone(name: string): boolean {
  try {
    new Intl.DateTimeFormat('en', { timeZone: name });
    return true;
  } catch {
    return false;
  }
}
