import { environmentSchema, SECRETS, serviceUrl, type Environment } from './config-schema.js';
import type { BrokerOptions } from './infrastructure/mesh-options.js';

/** The validated environment. Durations in ms. */
export interface Config {
  /** The names of the modules that this process hosts. */
  readonly modules: readonly string[];
  /** Absent when messages neither leave this process nor come from another one. */
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
    /** How long ago a transit must have ended before it is reconciled. */
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

export type Variables = Readonly<Record<string, string | undefined>>;

/** `migrate` needs no broker, so variables such as K_SINK may be missing. */
export type Purpose = 'start' | 'migrate';

/**
 * Validates environment variables. An empty variable counts as absent.
 * @param modules the names of all modules of the application
 * @throws Error with one line for each invalid variable
 */
export function readConfig(variables: Variables, modules: readonly string[], purpose: Purpose = 'start'): Config {
  const given = Object.fromEntries(
    Object.entries(variables).filter(([, value]) => value !== undefined && value !== ''),
  ) as Record<string, string>;
  const parsed = environmentSchema.safeParse(given);
  const problems = (parsed.error?.issues ?? []).map(({ path, message }) => {
    const name = path.join('.');
    return problem(name, message, given[name]);
  });
  const services = readServices(given, modules, problems);
  if (!parsed.success) throw new Error(problems.join('\n'));
  const env = parsed.data;
  const hosted = readModules(env.MODULES, modules, problems);
  if (purpose === 'start') problems.push(...contradictions(env, hosted, modules));
  if (problems.length > 0) throw new Error(problems.join('\n'));
  const isDevelopment = env.NODE_ENV !== 'production';
  const hasBroker = env.MESH_TRANSPORT === 'knative' || env.MESH_RECEIVE === 'true';
  return {
    isDevelopment,
    modules: hosted,
    ...(hasBroker && { broker: brokerOptions(env, services) }),
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

/** One line of an error. A value that could be or contain a secret is left out. */
function problem(name: string, message: string, value?: string): string {
  const isShown = value !== undefined && !SECRETS.includes(name) && !value.includes('@');
  return `Invalid environment variable ${name}: ${message}${isShown ? `, got ${JSON.stringify(value)}` : ''}.`;
}

/** `MODULES` is a list, or `none` for a process that only keeps dead letters. Its default is all modules. */
function readModules(text: string | undefined, all: readonly string[], problems: string[]): readonly string[] {
  if (text === undefined) return all;
  if (text.trim() === 'none') return [];
  const names = new Set(text.split(',').map((name) => name.trim()));
  if ([...names].some((name) => !all.includes(name))) {
    problems.push(problem('MODULES', `expected none, or a list of ${all.join(', ')}`, text));
    return all;
  }
  return all.filter((name) => names.has(name));
}

/** `USVC_<MODULE>` is the base URL of a module that another process hosts. */
function readServices(given: Record<string, string>, all: readonly string[], problems: string[]) {
  const services: Record<string, string> = {};
  for (const [variable, value] of Object.entries(given)) {
    const name = /^USVC_(.+)$/.exec(variable)?.[1]?.toLowerCase();
    if (!name) continue;
    const parsed = serviceUrl.safeParse(value);
    if (!all.includes(name)) {
      problems.push(problem(variable, `there is no module ${name}, expected one of ${all.join(', ')}`));
    } else if (!parsed.success) {
      problems.push(problem(variable, parsed.error.issues[0]!.message, value));
    } else {
      services[name] = parsed.data;
    }
  }
  return services;
}

/** Variables that are valid, but not in combination. */
function contradictions(env: Environment, hosted: readonly string[], all: readonly string[]): string[] {
  const problems: string[] = [];
  const isKnative = env.MESH_TRANSPORT === 'knative';
  if (isKnative && !env.K_SINK && hosted.length > 0) {
    problems.push(problem('K_SINK', 'MESH_TRANSPORT=knative needs the URL of a broker'));
  }
  if (!isKnative && hosted.length < all.length) {
    problems.push(problem('MODULES', 'modules in several processes need MESH_TRANSPORT=knative'));
  }
  if (isKnative && env.MESH_RECEIVE === 'false') {
    problems.push(problem('MESH_RECEIVE', 'MESH_TRANSPORT=knative needs to receive from the broker: remove it'));
  }
  if (!env.MESH_OIDC_ISSUER !== !env.MESH_OIDC_AUDIENCE) {
    const [missing, present] = env.MESH_OIDC_ISSUER
      ? ['MESH_OIDC_AUDIENCE', 'MESH_OIDC_ISSUER']
      : ['MESH_OIDC_ISSUER', 'MESH_OIDC_AUDIENCE'];
    problems.push(problem(missing, `${present} needs it: set both, or neither`));
  }
  if (env.KUBERNETES_SERVICE_HOST && env.DATABASE_URL.startsWith('sqlite:') && env.MESH_ALLOW_SQLITE !== 'true') {
    problems.push(
      problem(
        'DATABASE_URL',
        'SQLite in a cluster is lost with its pod: give postgres://…, or MESH_ALLOW_SQLITE=true when the disk persists',
      ),
    );
  }
  return problems;
}

function brokerOptions(env: Environment, services: Readonly<Record<string, string>>): BrokerOptions {
  const { MESH_OIDC_ISSUER: issuer, MESH_OIDC_AUDIENCE: audience, MESH_OIDC_JWKS: jwksUrl } = env;
  const credentialsFile = env.MESH_OIDC_CREDENTIALS_FILE;
  const keys = { ...(jwksUrl && { jwksUrl }), ...(credentialsFile && { credentialsFile }) };
  return {
    services,
    // Without `sink`, new messages stay in this process; MESH_RECEIVE=true still accepts what the broker holds.
    ...(env.K_SINK && env.MESH_TRANSPORT === 'knative' && { sink: env.K_SINK }),
    ...(env.K_CE_OVERRIDES && { extensions: env.K_CE_OVERRIDES }),
    ...(env.K_CA_CERTS && { caCerts: env.K_CA_CERTS }),
    ...(env.MESH_OIDC_TOKEN_FILE && { tokenFile: env.MESH_OIDC_TOKEN_FILE }),
    ...(issuer && audience && { tokens: { issuer, audience, ...keys } }),
  };
}
