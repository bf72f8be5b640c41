import { problem, type Environment } from './config-schema.js';
import type { DeliveryPolicy } from './infrastructure/contracts/retry-policy.js';
import { inboxProblem } from './infrastructure/maintenance/inbox-retention.js';
import { brokerChainMs } from './infrastructure/policies.js';

const DAY_MS = 86_400_000;

const INBOX_VARIABLES = {
  replayWindow: 'MESH_REPLAY_WINDOW',
  retry: 'MESH_RETRY',
  unknownTypeGrace: 'MESH_UNKNOWN_TYPE_GRACE',
};

/** What was read from the environment. */
interface Readings {
  /** The modules of this process. */
  readonly hosted: readonly string[];
  readonly all: readonly string[];
  readonly port: number;
  readonly meshPort?: number | undefined;
  readonly delivery: DeliveryPolicy;
}

/** Variables that are valid, but not in combination. */
export function contradictions(env: Environment, { hosted, all, port, meshPort, delivery }: Readings): string[] {
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
  const chainMs = brokerChainMs(delivery);
  if (isKnative && (env.MESH_PUBLISH_TIMEOUT ?? chainMs) < chainMs) {
    const expected = `PT${Math.ceil(chainMs / 1000)}S`;
    problems.push(
      problem(
        'MESH_PUBLISH_TIMEOUT',
        `a synchronous broker may take ${expected} to answer (all attempts by MESH_RETRY, MESH_BACKOFF_DELAY and ` +
          'MESH_TIMEOUT, for the consumer and for its dead letter sink): give at least that, or leave the variable out',
      ),
    );
  }
  if (meshPort === port && port !== 0) {
    problems.push(
      problem(
        'MESH_PORT',
        `REST has the port ${port}, too: choose another one, for the mesh here or for REST in REST_PORT ` +
          '(Knative sets PORT to the port of the mesh)',
      ),
    );
  }
  const retention = { inboxMs: env.MESH_INBOX_RETENTION, replayWindowMs: env.MESH_REPLAY_WINDOW };
  const forgotten = inboxProblem(retention, delivery, INBOX_VARIABLES);
  if (forgotten) problems.push(problem('MESH_INBOX_RETENTION', forgotten));
  problems.push(...guardContradictions(env), ...restContradictions(env), ...accessContradictions(env));
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

/** A message comes again as long as its dead letter can be replayed. The rows that protect from it live a day longer at least. */
function guardContradictions(env: Environment): string[] {
  const minimumDays = 1 + Math.ceil(Math.max(env.MESH_INBOX_RETENTION, env.MESH_DEAD_LETTER_RETENTION) / DAY_MS);
  if (env.REPEAT_GUARD_RETENTION >= minimumDays * DAY_MS) return [];
  const reason = 'a day more than MESH_INBOX_RETENTION and MESH_DEAD_LETTER_RETENTION';
  return [problem('REPEAT_GUARD_RETENTION', `expected at least P${minimumDays}D, ${reason}`)];
}

/** In production it is a decision that REST is open, never an omission. */
function restContradictions(env: Environment): string[] {
  const { AUTH: auth, AUTH_ISSUER: issuer, AUTH_AUDIENCE: audience } = env;
  if (auth === 'none' && issuer) return [problem('AUTH', 'none contradicts AUTH_ISSUER: remove one of them')];
  if (issuer && !audience) return [problem('AUTH_AUDIENCE', 'AUTH_ISSUER needs it: set both, or neither')];
  if (!issuer && audience) return [problem('AUTH_ISSUER', 'AUTH_AUDIENCE needs it: set both, or neither')];
  if (!issuer && auth === 'jwt') return [problem('AUTH_ISSUER', 'AUTH=jwt needs it, and AUTH_AUDIENCE')];
  if (issuer && issuer === env.MESH_OIDC_ISSUER && audience === env.MESH_OIDC_AUDIENCE) {
    return [
      problem(
        'AUTH_AUDIENCE',
        'MESH_OIDC_AUDIENCE and MESH_OIDC_ISSUER have the same values, so each token of the mesh would be valid for REST: ' +
          'choose another audience for REST',
      ),
    ];
  }
  if (issuer || auth === 'none' || env.NODE_ENV !== 'production') return [];
  return [
    problem(
      'AUTH',
      'in production REST needs tokens: set AUTH_ISSUER and AUTH_AUDIENCE, or set AUTH=none if a proxy or a network ' +
        'policy decides who reaches REST',
    ),
  ];
}

/** Who may deliver and ask is never left open by a variable that was forgotten. */
function accessContradictions(env: Environment): string[] {
  const { MESH_OIDC_ISSUER: issuer, MESH_OIDC_AUDIENCE: audience, MESH_OIDC_SUBJECTS: subjects } = env;
  const problems: string[] = [];
  if (!issuer) {
    const needing = (['MESH_OIDC_AUDIENCE', 'MESH_OIDC_SUBJECTS', 'MESH_OIDC_CALLERS'] as const).find((it) => env[it]);
    if (needing) problems.push(problem('MESH_OIDC_ISSUER', `${needing} needs it: set both, or neither`));
  } else {
    if (!audience) problems.push(problem('MESH_OIDC_AUDIENCE', 'MESH_OIDC_ISSUER needs it: set both, or neither'));
    if (!subjects) {
      problems.push(
        problem(
          'MESH_OIDC_SUBJECTS',
          'MESH_OIDC_ISSUER needs it: list the subjects (sub) of the tokens that may deliver',
        ),
      );
    }
  }
  const hasBroker = env.MESH_TRANSPORT === 'knative' || env.MESH_RECEIVE === 'true';
  if (hasBroker && !issuer && env.NODE_ENV === 'production' && env.MESH_ALLOW_ANONYMOUS !== 'true') {
    problems.push(
      problem(
        'MESH_OIDC_ISSUER',
        'in production a broker needs tokens: set it with MESH_OIDC_AUDIENCE and MESH_OIDC_SUBJECTS, or set ' +
          'MESH_ALLOW_ANONYMOUS=true if a network policy decides who reaches MESH_PORT',
      ),
    );
  }
  return problems;
}
