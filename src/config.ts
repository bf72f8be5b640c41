import { z } from 'zod';

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
const timeZone = z.string().refine(isTimeZone, 'expected an IANA time zone such as Europe/Warsaw');

/** Every variable that the application reads, with its default. The README explains them. */
const environment = z.object({
  NODE_ENV: z.string().default('development'),
  PORT: count.refine((port) => port < 65_536, 'expected a port').default(3000),
  DATABASE_URL: z
    .string()
    .regex(/^(sqlite:(?!:memory:).+|postgres(ql)?:\/\/.+)$/, 'expected sqlite:<path of a file> or postgres://…')
    .default('sqlite:data/cabs.db'),
  MESH_TRANSPORT: z.enum(['in-process']).default('in-process'),
  MESH_RETRY: count.default(10),
  MESH_BACKOFF_DELAY: duration.default(200),
  MESH_BACKOFF_POLICY: z.enum(['exponential', 'linear']).default('exponential'),
  MESH_TIMEOUT: timer.refine((ms) => ms > 0, 'expected more than 0').default(30_000),
  MESH_INBOX_RETENTION: duration.default(14 * 86_400_000),
  MESH_DEAD_LETTER_RETENTION: duration.default(30 * 86_400_000),
  MESH_REPLAY_WINDOW: duration.default(7 * 86_400_000),
  MESH_ADMIN_TOKEN: z.string().min(1).optional(),
  SHUTDOWN_GRACE: timer.default(20_000),
  LOG_LEVEL: z.enum(['fatal', 'error', 'warn', 'info', 'debug', 'trace', 'silent']).default('info'),
  SEED: z.enum(['demo', 'none']).optional(),
  TARIFF_TIME_ZONE: timeZone.default('Europe/Warsaw'),
});

/** What the environment says, in the application's words. Durations in ms. */
export interface Config {
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
  readonly adminToken?: string;
  readonly shutdownGraceMs: number;
  readonly logLevel: string;
  readonly seed: 'demo' | 'none';
  readonly tariffTimeZone: string;
}

export const CONFIG = Symbol('CONFIG');

/**
 * Reads the environment, once. An empty variable counts as absent.
 * @throws Error of one line that names the variables at fault
 */
export function readConfig(variables: Record<string, string | undefined>): Config {
  const given = Object.fromEntries(
    Object.entries(variables).filter(([, value]) => value !== undefined && value !== ''),
  );
  const parsed = environment.safeParse(given);
  if (!parsed.success) {
    const faults = parsed.error.issues.map(({ path, message }) => `${path.join('.')} (${message})`);
    throw new Error(`The environment is not understood: ${faults.join(', ')}`);
  }
  const env = parsed.data;
  const isDevelopment = env.NODE_ENV !== 'production';
  return {
    isDevelopment,
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
    ...(env.MESH_ADMIN_TOKEN && { adminToken: env.MESH_ADMIN_TOKEN }),
    shutdownGraceMs: env.SHUTDOWN_GRACE,
    logLevel: env.LOG_LEVEL,
    seed: env.SEED ?? (isDevelopment ? 'demo' : 'none'),
    tariffTimeZone: env.TARIFF_TIME_ZONE,
  };
}

function isTimeZone(name: string): boolean {
  try {
    new Intl.DateTimeFormat('en', { timeZone: name });
    return true;
  } catch {
    return false;
  }
}
