import { contradictions } from './config-contradictions.js';
import { environmentSchema, problem, serviceUrl, type Environment } from './config-schema.js';
import { fileOf, readSecrets } from './config-secrets.js';
import { readTokenOptions } from './config-tokens.js';
import type { DeliveryPolicy } from './infrastructure/contracts/retry-policy.js';
import type { BrokerOptions, TokenOptions } from './infrastructure/mesh-options.js';
import type { RetentionPolicy } from './infrastructure/store/expired-rows.js';

/** The validated environment. Durations in ms. */
export interface Config {
  /** The names of the modules that this process hosts. */
  readonly modules: readonly string[];
  /** Absent when messages neither leave this process nor come from another one. */
  readonly broker?: BrokerOptions;
  readonly isDevelopment: boolean;
  /** The port of REST. */
  readonly port: number;
  /** The port of the mesh; absent when it shares that of REST. */
  readonly meshPort?: number;
  readonly databaseUrl: string;
  readonly delivery: DeliveryPolicy;
  readonly retention: RetentionPolicy;
  /** How long modules keep the rows that only protect from repeated messages. */
  readonly repeatGuardMs: number;
  readonly reconciliation: {
    readonly everyMs: number;
    /** How long ago a transit must have changed last to be examined. */
    readonly afterMs: number;
    readonly perSecond: number;
  };
  /** Whether processes on one PostgreSQL wake each other. */
  readonly notify: boolean;
  readonly adminToken?: string;
  /** A token with which the administration may be read only. */
  readonly readToken?: string;
  /** Requests that may wait for an outcome (`Prefer: wait`) at a time. */
  readonly maxWaiters: number;
  /** The tokens that REST demands; absent when every client may use it. */
  readonly restTokens?: { readonly issuer: string; readonly audience: string };
  /** How long a process that is told to stop still accepts connections. */
  readonly shutdownDelayMs: number;
  readonly shutdownGraceMs: number;
  readonly hasApiPage: boolean;
  readonly logLevel: string;
  readonly seed: 'demo' | 'none';
  readonly tariffTimeZone: string;
}

/** The port of the mesh in production where `MESH_PORT` is not set: it never shares the public port there. */
const PRODUCTION_MESH_PORT = 8081;

/** In production the journal is off unless it is asked for: it costs a row for each message. */
const DEVELOPMENT_JOURNAL_MS = 86_400_000;

/** Kubernetes takes some seconds to stop sending requests to a pod. */
const PRODUCTION_SHUTDOWN_DELAY_MS = 5000;

export type Variables = Readonly<Record<string, string | undefined>>;

/** `migrate` needs no broker, so variables such as K_SINK may be missing. */
export type Purpose = 'start' | 'migrate';

/**
 * Validates environment variables, and reads the files that `DATABASE_URL_FILE` and `MESH_ADMIN_TOKEN_FILE` name. An empty
 * variable counts as absent, except DATABASE_URL.
 * @param modules the names of all modules of the application
 * @throws Error with one line for each invalid variable
 */
export function readConfig(variables: Variables, modules: readonly string[], purpose: Purpose = 'start'): Config {
  const given = Object.fromEntries(
    Object.entries(variables).filter(([, value]) => value !== undefined && value !== ''),
  ) as Record<string, string>;
  const secrets = readSecrets(given);
  const parsed = environmentSchema.safeParse(secrets.values);
  const problems = (parsed.error?.issues ?? []).map(({ path, message }) => {
    const name = path.join('.');
    return secrets.fromFiles.has(name) ? problem(fileOf(name), message) : problem(name, message, given[name]);
  });
  problems.push(...secrets.problems);
  // With the default, a container whose secret is missing would write to a file in the container, which is lost with it.
  if (variables.DATABASE_URL === '' && !given.DATABASE_URL_FILE)
    problems.push(
      problem('DATABASE_URL', 'the value is empty: give an address, or remove the variable for the default'),
    );
  const services = readServices(given, modules, problems);
  // Without the secret that a file should hold, contradictions would be found in a default.
  if (!parsed.success || secrets.problems.length > 0) throw new Error(problems.join('\n'));
  const env = parsed.data;
  const hosted = readModules(env.MODULES, modules, problems);
  const tokens = readTokenOptions(env, modules, problems);
  const isDevelopment = env.NODE_ENV !== 'production';
  const port = env.REST_PORT ?? env.PORT;
  const meshPort = env.MESH_PORT ?? (isDevelopment ? undefined : PRODUCTION_MESH_PORT);
  const delivery = deliveryOf(env);
  if (purpose === 'start') problems.push(...contradictions(env, { hosted, all: modules, port, meshPort, delivery }));
  if (problems.length > 0) throw new Error(problems.join('\n'));
  const hasBroker = env.MESH_TRANSPORT === 'knative' || env.MESH_RECEIVE === 'true';
  return {
    isDevelopment,
    modules: hosted,
    ...(hasBroker && { broker: brokerOptions(env, services, tokens) }),
    port,
    ...(meshPort !== undefined && { meshPort }),
    databaseUrl: env.DATABASE_URL,
    delivery,
    retention: {
      inboxMs: env.MESH_INBOX_RETENTION,
      deadLetterMs: env.MESH_DEAD_LETTER_RETENTION,
      replayWindowMs: env.MESH_REPLAY_WINDOW,
      journalMs: env.MESH_JOURNAL ?? (env.NODE_ENV === 'development' ? DEVELOPMENT_JOURNAL_MS : 0),
    },
    repeatGuardMs: env.REPEAT_GUARD_RETENTION,
    reconciliation: {
      everyMs: env.MESH_RECONCILE_EVERY,
      afterMs: env.MESH_RECONCILE_AFTER,
      perSecond: env.MESH_RECONCILE_PACE,
    },
    notify: env.MESH_NOTIFY === 'true',
    ...(env.MESH_ADMIN_TOKEN && { adminToken: env.MESH_ADMIN_TOKEN }),
    ...(env.MESH_READ_TOKEN && { readToken: env.MESH_READ_TOKEN }),
    maxWaiters: env.MAX_WAITING_REQUESTS,
    ...restTokensOf(env),
    shutdownDelayMs: env.SHUTDOWN_DELAY ?? (isDevelopment ? 0 : PRODUCTION_SHUTDOWN_DELAY_MS),
    shutdownGraceMs: env.SHUTDOWN_GRACE,
    hasApiPage: env.API_PAGE ? env.API_PAGE === 'true' : isDevelopment,
    logLevel: env.LOG_LEVEL,
    seed: env.SEED ?? (isDevelopment ? 'demo' : 'none'),
    tariffTimeZone: env.TARIFF_TIME_ZONE,
  };
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

function restTokensOf({ AUTH_ISSUER: issuer, AUTH_AUDIENCE: audience }: Environment): Pick<Config, 'restTokens'> {
  return issuer && audience ? { restTokens: { issuer, audience } } : {};
}

function deliveryOf(env: Environment): DeliveryPolicy {
  return {
    retry: env.MESH_RETRY,
    backoffDelayMs: env.MESH_BACKOFF_DELAY,
    backoffPolicy: env.MESH_BACKOFF_POLICY,
    timeoutMs: env.MESH_TIMEOUT,
    unknownTypeGraceMs: env.MESH_UNKNOWN_TYPE_GRACE,
  };
}

function brokerOptions(
  env: Environment,
  services: Readonly<Record<string, string>>,
  tokens: TokenOptions | undefined,
): BrokerOptions {
  return {
    services,
    // Without `sink`, new messages stay in this process; MESH_RECEIVE=true still accepts what the broker holds.
    ...(env.K_SINK && env.MESH_TRANSPORT === 'knative' && { sink: env.K_SINK }),
    ...(env.MESH_PUBLISH_TIMEOUT && { publishTimeoutMs: env.MESH_PUBLISH_TIMEOUT }),
    ...(env.K_CE_OVERRIDES && { extensions: env.K_CE_OVERRIDES }),
    ...(env.K_CA_CERTS && { caCerts: env.K_CA_CERTS }),
    ...(env.MESH_OIDC_TOKEN_FILE && { tokenFile: env.MESH_OIDC_TOKEN_FILE }),
    ...(env.MESH_OIDC_QUERY_TOKEN_FILE && { queryTokenFile: env.MESH_OIDC_QUERY_TOKEN_FILE }),
    ...(tokens && { tokens }),
  };
}
