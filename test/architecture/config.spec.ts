import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Test } from '@nestjs/testing';
import { loadConfig } from '../../src/config-loader.js';
import { demoConfig, guardConfig, ridesConfig } from '../../src/config-namespaces.js';
import { readConfig as read } from '../../src/config.js';
import { startCabs } from '../support/cabs.js';
import { DATABASES } from '../support/databases.js';

const MODULES = ['bar', 'kitchen', 'cellar'];
const readConfig = (variables: Record<string, string | undefined>) => read(variables, MODULES);
const DAY_MS = 86_400_000;
/** Production demands a decision about the tokens of REST. */
const PRODUCTION = { NODE_ENV: 'production', AUTH: 'none' };

describe('The configuration', () => {
  it('has a default for every variable', () => {
    expect(readConfig({})).toEqual({
      modules: MODULES,
      isDevelopment: true,
      port: 3000,
      databaseUrl: 'sqlite:data/cabs.db',
      delivery: {
        retry: 10,
        backoffDelayMs: 200,
        backoffPolicy: 'exponential',
        timeoutMs: 30_000,
        unknownTypeGraceMs: DAY_MS,
      },
      retention: { inboxMs: 14 * DAY_MS, deadLetterMs: 30 * DAY_MS, replayWindowMs: 7 * DAY_MS, journalMs: DAY_MS },
      repeatGuardMs: 400 * DAY_MS,
      reconciliation: { everyMs: 3_600_000, afterMs: 300_000, perSecond: 200 },
      notify: true,
      maxWaiters: 20,
      shutdownDelayMs: 0,
      shutdownGraceMs: 20_000,
      hasApiPage: true,
      logLevel: 'info',
      seed: 'demo',
      tariffTimeZone: 'Europe/Warsaw',
    });
  });

  it('reads every variable', () => {
    const given = {
      NODE_ENV: 'production',
      AUTH: 'jwt',
      AUTH_ISSUER: 'https://issuer.example/realms/cabs/',
      AUTH_AUDIENCE: 'cabs-rest',
      PORT: '8080',
      REST_PORT: '8090',
      MESH_PORT: '8082',
      DATABASE_URL: 'postgres://cabs@db/cabs',
      MESH_TRANSPORT: 'in-process',
      MESH_RETRY: '3',
      MESH_BACKOFF_DELAY: 'PT1S',
      MESH_BACKOFF_POLICY: 'linear',
      MESH_TIMEOUT: 'PT5S',
      MESH_UNKNOWN_TYPE_GRACE: 'PT1H',
      MESH_INBOX_RETENTION: 'P20D',
      MESH_DEAD_LETTER_RETENTION: 'P60D',
      MESH_REPLAY_WINDOW: 'P10D',
      MESH_JOURNAL: 'P2D',
      REPEAT_GUARD_RETENTION: 'P100D',
      MESH_RECONCILE_EVERY: 'PT0S',
      MESH_RECONCILE_AFTER: 'PT1M',
      MESH_RECONCILE_PACE: '50',
      MESH_NOTIFY: 'false',
      MESH_ADMIN_TOKEN: 'secret-secret-secret',
      MESH_READ_TOKEN: 'another-secret-secret',
      MAX_WAITING_REQUESTS: '7',
      SHUTDOWN_DELAY: 'PT3S',
      SHUTDOWN_GRACE: 'PT1M',
      API_PAGE: 'true',
      LOG_LEVEL: 'debug',
      SEED: 'demo',
      TARIFF_TIME_ZONE: 'UTC',
    };
    expect(readConfig(given)).toEqual({
      modules: MODULES,
      isDevelopment: false,
      port: 8090,
      meshPort: 8082,
      databaseUrl: 'postgres://cabs@db/cabs',
      delivery: {
        retry: 3,
        backoffDelayMs: 1000,
        backoffPolicy: 'linear',
        timeoutMs: 5000,
        unknownTypeGraceMs: 3_600_000,
      },
      retention: {
        inboxMs: 20 * DAY_MS,
        deadLetterMs: 60 * DAY_MS,
        replayWindowMs: 10 * DAY_MS,
        journalMs: 2 * DAY_MS,
      },
      repeatGuardMs: 100 * DAY_MS,
      reconciliation: { everyMs: 0, afterMs: 60_000, perSecond: 50 },
      notify: false,
      adminToken: 'secret-secret-secret',
      readToken: 'another-secret-secret',
      restTokens: { issuer: 'https://issuer.example/realms/cabs/', audience: 'cabs-rest' },
      maxWaiters: 7,
      shutdownDelayMs: 3000,
      shutdownGraceMs: 60_000,
      hasApiPage: true,
      logLevel: 'debug',
      seed: 'demo',
      tariffTimeZone: 'UTC',
    });
  });

  it('seeds nothing in production by default', () => {
    expect(readConfig(PRODUCTION)).toMatchObject({ isDevelopment: false, seed: 'none' });
    expect(readConfig({ NODE_ENV: 'test' })).toMatchObject({ isDevelopment: true, seed: 'demo' });
  });

  it('gives the mesh a port of its own in production, also when none is configured', () => {
    expect(readConfig({}).meshPort).toBeUndefined();
    expect(readConfig({ MESH_PORT: '0' }).meshPort).toBe(0);
    expect(readConfig(PRODUCTION)).toMatchObject({ port: 3000, meshPort: 8081 });
    // Knative sets PORT to the port that it routes.
    const knative = { ...PRODUCTION, PORT: '8081', REST_PORT: '3000' };
    expect(readConfig(knative)).toMatchObject({ port: 3000, meshPort: 8081 });
    expect(refusalOf({ ...knative, REST_PORT: '' })).toMatch(
      /^Invalid environment variable MESH_PORT: REST has the port 8081, too: [^\n]*REST_PORT[^\n]*\.$/,
    );
  });

  it('accepts connections for 5 s after SIGTERM in production, and none in development', () => {
    expect(readConfig(PRODUCTION).shutdownDelayMs).toBe(5000);
    expect(readConfig({ ...PRODUCTION, SHUTDOWN_DELAY: 'PT0S' }).shutdownDelayMs).toBe(0);
    expect(readConfig({ NODE_ENV: 'test' }).shutdownDelayMs).toBe(0);
  });

  it.each(['secret', 'fifteen-letters', ' blanks at its ends ', 'żółć-żółć-żółć-żółć'])(
    'refuses the administration token "%s", which is too easy to guess or fits into no header',
    (token) => {
      expect(refusalOf({ MESH_ADMIN_TOKEN: token })).toBe(
        'Invalid environment variable MESH_ADMIN_TOKEN: expected at least 16 ASCII characters.',
      );
    },
  );

  it('treats an empty variable as absent', () => {
    const names = ['NODE_ENV', 'PORT', 'MESH_TRANSPORT', 'MESH_RETRY', 'MESH_BACKOFF_DELAY'];
    const more = ['MESH_TIMEOUT', 'MESH_INBOX_RETENTION', 'MESH_ADMIN_TOKEN', 'LOG_LEVEL', 'SEED', 'TARIFF_TIME_ZONE'];
    expect(readConfig(Object.fromEntries([...names, ...more].map((name) => [name, ''])))).toEqual(readConfig({}));
  });

  it('refuses an empty address of the database, unless a file holds it', () => {
    expect(refusalOf({ DATABASE_URL: '' })).toBe(
      'Invalid environment variable DATABASE_URL: the value is empty: give an address, or remove the variable for the default.',
    );
    expect(refusalOf({ DATABASE_URL: 'sqlite:file:/tmp/x.db?mode=memory' })).toContain('URIs of SQLite (file:)');
  });

  it.each([
    ['PT0.2S', 200],
    ['PT30S', 30_000],
    ['PT1M', 60_000],
    ['PT2H', 7_200_000],
    ['P14D', 14 * DAY_MS],
    ['P1DT2H3M4.5S', DAY_MS + 7_384_500],
    ['PT0S', 0],
  ])('reads the duration %s', (text, ms) => {
    expect(readConfig({ SHUTDOWN_GRACE: text }).shutdownGraceMs).toBe(ms);
  });

  const invalidDurations = [
    '20',
    'P',
    'PT',
    'P1DT',
    '1D',
    'P1Y',
    'P1M',
    'P1W',
    'PT-1S',
    'PT1,5S',
    'pt1s',
    'PT1S ',
    'PT1S2M',
  ];
  it.each([
    ...['-1', '65536', 'http', '3000.5', ' 3000', '0x50'].map((value) => ['PORT', value]),
    ...['cabs.db', 'sqlite:', 'sqlite::memory:', 'mysql://localhost/cabs', 'postgres:'].map((it) => [
      'DATABASE_URL',
      it,
    ]),
    ...['kafka', 'In-Process', 'knative '].map((value) => ['MESH_TRANSPORT', value]),
    ...['-1', 'many', '1e3', '100000'].map((value) => ['MESH_RETRY', value]),
    ...['Production', 'PRODUCTION', 'prod', 'staging', ' production', 'production\n', ' '].map((it) => [
      'NODE_ENV',
      it,
    ]),
    ...['MESH_NOTIFY', 'MESH_RECEIVE', 'MESH_ALLOW_ANONYMOUS', 'MESH_ALLOW_SQLITE'].flatMap((name) =>
      ['True', 'FALSE', ' true', 'false ', '1', 'yes'].map((value) => [name, value]),
    ),
    ...['None', 'Demo', ' none'].map((value) => ['SEED', value]),
    ...['None', 'Bar', 'bar;kitchen', ' '].map((value) => ['MODULES', value]),
    ...['quadratic', 'Linear', ' linear'].map((value) => ['MESH_BACKOFF_POLICY', value]),
    ...invalidDurations.map((value) => ['MESH_BACKOFF_DELAY', value]),
    ...['MESH_TIMEOUT', 'MESH_INBOX_RETENTION', 'MESH_DEAD_LETTER_RETENTION', 'MESH_RECONCILE_AFTER'].map((name) => [
      name,
      '14 days',
    ]),
    ...['MESH_REPLAY_WINDOW', 'SHUTDOWN_GRACE'].map((name) => [name, 'P1Y']),
    // setTimeout() fires at once for more than 2^31 - 1 ms.
    ...['MESH_TIMEOUT', 'MESH_PUBLISH_TIMEOUT', 'SHUTDOWN_GRACE', 'SHUTDOWN_DELAY'].map((name) => [name, 'P25D']),
    ...['MESH_TIMEOUT', 'MESH_PUBLISH_TIMEOUT'].map((name) => [name, 'PT0S']),
    ...['verbose', 'Info'].map((value) => ['LOG_LEVEL', value]),
    ['API_PAGE', 'yes'],
    ['SEED', 'true'],
    ...['Warsaw', 'Mars/Olympus Mons'].map((value) => ['TARIFF_TIME_ZONE', value]),
  ] as [string, string][])('refuses %s=%s in one line that names it', (name, value) => {
    const refusal = refusalOf({ [name]: value });
    expect(refusal).toMatch(new RegExp(`^Invalid environment variable ${name}: expected [^\n]+\\.$`));
    if (name !== 'DATABASE_URL') expect(refusal).toContain(`, got ${JSON.stringify(value)}.`);
  });

  describe('of a process with a broker', () => {
    const KNATIVE = { MESH_TRANSPORT: 'knative', K_SINK: 'http://broker/cabs/default/' };
    const OIDC = {
      ...KNATIVE,
      MESH_OIDC_ISSUER: 'https://issuer',
      MESH_OIDC_AUDIENCE: 'cabs',
      MESH_OIDC_SUBJECTS: 'system:serviceaccount:cabs:broker',
    };
    const CERTIFICATE = '-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----';

    it('reads the variables of a SinkBinding, of OIDC, and the addresses of other modules', () => {
      const more = { K_CE_OVERRIDES: '{"extensions":{"cluster":"blue"}}', K_CA_CERTS: CERTIFICATE };
      const tokens = { MESH_OIDC_ISSUER: 'https://issuer', MESH_OIDC_AUDIENCE: 'cabs', MESH_OIDC_JWKS: 'https://keys' };
      const keys = {
        MESH_OIDC_CREDENTIALS_FILE: '/account/token',
        MESH_OIDC_SUBJECTS: 'system:serviceaccount:cabs:broker, kitchen=cook,flush=cron',
        MESH_OIDC_CALLERS: 'bar=waiter,kitchen=cook, bar=barkeeper',
        MESH_OIDC_QUERY_TOKEN_FILE: '/query/token',
      };
      const elsewhere = {
        MODULES: ' kitchen, bar',
        USVC_CELLAR: 'http://cellar:8080/',
        MESH_OIDC_TOKEN_FILE: '/token',
      };
      expect(readConfig({ ...KNATIVE, ...more, ...tokens, ...keys, ...elsewhere })).toMatchObject({
        modules: ['bar', 'kitchen'],
        broker: {
          sink: 'http://broker/cabs/default',
          extensions: { cluster: 'blue' },
          caCerts: CERTIFICATE,
          tokenFile: '/token',
          queryTokenFile: '/query/token',
          services: { cellar: 'http://cellar:8080' },
          tokens: {
            issuer: 'https://issuer',
            audience: 'cabs',
            jwksUrl: 'https://keys',
            credentialsFile: '/account/token',
            senders: [
              { subject: 'system:serviceaccount:cabs:broker' },
              { subject: 'cook', segment: 'kitchen' },
              { subject: 'cron', segment: 'flush' },
            ],
            callers: { bar: ['waiter', 'barkeeper'], kitchen: ['cook'] },
          },
        },
      });
    });

    it('publishes nothing when it only keeps dead letters, or receives only', () => {
      const deadLetters = readConfig({ MESH_TRANSPORT: 'knative', MODULES: 'none', USVC_BAR: 'http://bar' });
      expect(deadLetters).toMatchObject({ modules: [], broker: { services: { bar: 'http://bar' } } });
      expect(deadLetters.broker).not.toHaveProperty('sink');
      expect(readConfig({ K_SINK: 'http://broker' })).not.toHaveProperty('broker');
      expect(readConfig({ K_SINK: 'http://broker', MESH_RECEIVE: 'true' }).broker).toEqual({ services: {} });
    });

    it('waits for the broker as long as all attempts of a consumer and of its dead letter sink may take', () => {
      const policy = { MESH_RETRY: '2', MESH_BACKOFF_DELAY: 'PT1S', MESH_TIMEOUT: 'PT10S' };
      // 3 attempts of 20 s, pauses of 1 s and 2 s and a tenth more; twice.
      const chain = (MESH_PUBLISH_TIMEOUT: string) => ({ ...KNATIVE, ...policy, MESH_PUBLISH_TIMEOUT });
      expect(readConfig(chain('PT2M7S')).broker).toMatchObject({ publishTimeoutMs: 127_000 });
      expect(refusalOf(chain('PT2M6S'))).toMatch(
        /^Invalid environment variable MESH_PUBLISH_TIMEOUT: a synchronous broker may take PT127S to answer .+ leave the variable out\.$/,
      );
      expect(readConfig({ ...policy, MESH_PUBLISH_TIMEOUT: 'PT1S' })).not.toHaveProperty('broker');
    });

    it.each([
      [{ MESH_TRANSPORT: 'knative' }, 'K_SINK: MESH_TRANSPORT=knative needs the URL of a broker.'],
      [{ ...KNATIVE, K_SINK: 'broker:80' }, 'K_SINK: expected http://… or https://…, got "broker:80".'],
      [{ ...KNATIVE, K_CE_OVERRIDES: '{"extensions":{"a-b":"c"}}' }, 'K_CE_OVERRIDES: expected {"extensions"'],
      ...['id', 'type', 'source', 'specversion', 'subject', 'time', 'data', 'partitionkey', 'traceparent'].map(
        (name): [Record<string, string>, string] => [
          { ...KNATIVE, K_CE_OVERRIDES: JSON.stringify({ extensions: { [name]: 'x' } }) },
          `K_CE_OVERRIDES: invalid extension ${name}: each event has its own.`,
        ],
      ),
      [
        { ...KNATIVE, K_CE_OVERRIDES: '{"extensions":{"a":"\\u0000"}}' },
        'K_CE_OVERRIDES: invalid extension a: expected',
      ],
      [{ ...KNATIVE, K_CE_OVERRIDES: 'a=b' }, 'K_CE_OVERRIDES: expected {"extensions"'],
      [{ ...KNATIVE, K_CA_CERTS: '/etc/ca.crt' }, 'K_CA_CERTS: expected certificates in PEM.'],
      [
        { ...KNATIVE, MODULES: 'bar,garden' },
        'MODULES: expected none, or a list of bar, kitchen, cellar, got "bar,garden".',
      ],
      [{ ...KNATIVE, MODULES: ',' }, 'MODULES: expected none, or a list of bar, kitchen, cellar, got ",".'],
      [{ MODULES: 'bar' }, 'MODULES: modules in several processes need MESH_TRANSPORT=knative.'],
      [{ MODULES: 'none' }, 'MODULES: modules in several processes need MESH_TRANSPORT=knative.'],
      [{ ...KNATIVE, USVC_GARDEN: 'http://garden' }, 'USVC_GARDEN: there is no module garden, expected one of bar,'],
      [{ ...KNATIVE, USVC_BAR: 'bar' }, 'USVC_BAR: expected http://… or https://…, got "bar".'],
      [{ ...OIDC, MESH_OIDC_AUDIENCE: '' }, 'MESH_OIDC_AUDIENCE: MESH_OIDC_ISSUER needs it'],
      ...['http://issuer', 'http://127.0.0.1.example', 'issuer', 'https://issuer/?realm=cabs'].map(
        (it): [Record<string, string>, string] => [
          { ...OIDC, MESH_OIDC_ISSUER: it },
          `MESH_OIDC_ISSUER: expected https://… (on this machine also http://…) without query or fragment, got "${it}".`,
        ],
      ),
      ...[
        'http://issuer/keys',
        'http://kubernetes.default.svc/openid/v1/jwks',
        'issuer/keys',
        'https://issuer/ keys',
      ].map((it): [Record<string, string>, string] => [
        { ...OIDC, MESH_OIDC_JWKS: it },
        `MESH_OIDC_JWKS: expected https://… (on this machine also http://…), got "${it}".`,
      ]),
      [
        { ...OIDC, AUTH_ISSUER: OIDC.MESH_OIDC_ISSUER, AUTH_AUDIENCE: OIDC.MESH_OIDC_AUDIENCE },
        'AUTH_AUDIENCE: MESH_OIDC_AUDIENCE and MESH_OIDC_ISSUER have the same values, so each token of the mesh would',
      ],
      [{ ...OIDC, MESH_OIDC_SUBJECTS: '' }, 'MESH_OIDC_SUBJECTS: MESH_OIDC_ISSUER needs it: list the subjects'],
      [{ ...OIDC, MESH_OIDC_SUBJECTS: 'garden=cook' }, 'MESH_OIDC_SUBJECTS: expected <subject>, or <path>=<subject>'],
      [{ ...OIDC, MESH_OIDC_SUBJECTS: 'cook,' }, 'MESH_OIDC_SUBJECTS: expected a list with commas, got "cook,".'],
      [{ ...OIDC, MESH_OIDC_CALLERS: 'cook' }, 'MESH_OIDC_CALLERS: expected <module>=<subject>'],
      [{ ...OIDC, MESH_OIDC_CALLERS: 'garden=cook' }, 'MESH_OIDC_CALLERS: expected <module>=<subject>'],
      [{ ...KNATIVE, MESH_OIDC_SUBJECTS: 'cook' }, 'MESH_OIDC_ISSUER: MESH_OIDC_SUBJECTS needs it'],
      [{ ...KNATIVE, MESH_OIDC_CALLERS: 'bar=cook' }, 'MESH_OIDC_ISSUER: MESH_OIDC_CALLERS needs it'],
      [{ ...KNATIVE, ...PRODUCTION }, 'MESH_OIDC_ISSUER: in production a broker needs tokens'],
      [{ ...PRODUCTION, MESH_RECEIVE: 'true' }, 'MESH_OIDC_ISSUER: in production a broker needs tokens'],
      [{ ...KNATIVE, MESH_ALLOW_ANONYMOUS: 'yes' }, 'MESH_ALLOW_ANONYMOUS: expected true or false, got "yes".'],
      [{ ...KNATIVE, MESH_OIDC_AUDIENCE: 'cabs' }, 'MESH_OIDC_ISSUER: MESH_OIDC_AUDIENCE needs it'],
      [{ ...KNATIVE, MESH_RECEIVE: 'false' }, 'MESH_RECEIVE: MESH_TRANSPORT=knative needs to receive'],
      [{ KUBERNETES_SERVICE_HOST: '10.0.0.1' }, 'DATABASE_URL: SQLite in a cluster is lost with its pod'],
    ])('refuses %j in one line', (variables, says) => {
      const refusal = refusalOf(variables);
      expect(refusal).toMatch(/^Invalid environment variable [^\n]*\.$/);
      expect(refusal).toContain(`Invalid environment variable ${says}`);
    });

    it.each([
      ['https://issuer.example/of/aks/', 'https://issuer.example/keys?policy=cabs'],
      ['http://localhost:8080/realms/mesh', 'http://127.0.0.1:8080/keys'],
    ])('takes the issuer %s and its keys as they are written', (issuer, jwksUrl) => {
      const { broker } = readConfig({ ...OIDC, MESH_OIDC_ISSUER: issuer, MESH_OIDC_JWKS: jwksUrl });
      expect(broker).toMatchObject({ tokens: { issuer, jwksUrl } });
    });

    it('shares its issuer with REST when each has an audience of its own', () => {
      const rest = { AUTH_ISSUER: OIDC.MESH_OIDC_ISSUER, AUTH_AUDIENCE: 'cabs-rest' };
      expect(readConfig({ ...OIDC, ...rest })).toMatchObject({ restTokens: { audience: 'cabs-rest' } });
      const elsewhere = { AUTH_ISSUER: 'https://sso', AUTH_AUDIENCE: OIDC.MESH_OIDC_AUDIENCE };
      expect(readConfig({ ...OIDC, ...elsewhere })).toMatchObject({ restTokens: { issuer: 'https://sso' } });
    });

    it('allows SQLite in a cluster with MESH_ALLOW_SQLITE=true, and PostgreSQL always', () => {
      const cluster = { KUBERNETES_SERVICE_HOST: '10.0.0.1' };
      expect(readConfig({ ...cluster, MESH_ALLOW_SQLITE: 'true' }).databaseUrl).toBe('sqlite:data/cabs.db');
      expect(readConfig({ ...cluster, DATABASE_URL: 'postgres://db/cabs' }).databaseUrl).toBe('postgres://db/cabs');
    });

    it('starts in production with tokens, or with MESH_ALLOW_ANONYMOUS=true', () => {
      expect(readConfig({ ...OIDC, ...PRODUCTION }).broker).toHaveProperty('tokens');
      const anonymous = readConfig({ ...KNATIVE, ...PRODUCTION, MESH_ALLOW_ANONYMOUS: 'true' });
      expect(anonymous.broker).not.toHaveProperty('tokens');
      expect(readConfig({ ...OIDC, ...PRODUCTION, MESH_ALLOW_ANONYMOUS: 'true' }).broker).toHaveProperty('tokens');
      expect(refusalOf({ ...KNATIVE, ...PRODUCTION })).toMatch(/MESH_OIDC_SUBJECTS, or set MESH_ALLOW_ANONYMOUS=true/);
    });

    it('needs no broker to migrate', () => {
      const migrating = read({ MESH_TRANSPORT: 'knative', MODULES: 'bar' }, MODULES, 'migrate');
      expect(migrating.modules).toEqual(['bar']);
      expect(() => read({ NODE_ENV: 'Production' }, MODULES, 'migrate')).toThrow('variable NODE_ENV: expected');
    });
  });

  describe('of REST', () => {
    const JWT = { AUTH_ISSUER: 'https://issuer.example', AUTH_AUDIENCE: 'cabs' };

    it('demands tokens where an issuer is named, also in development', () => {
      const restTokens = { issuer: 'https://issuer.example', audience: 'cabs' };
      for (const more of [{}, { AUTH: 'jwt' }, { NODE_ENV: 'test' }, { NODE_ENV: 'production' }])
        expect(readConfig({ ...JWT, ...more })).toMatchObject({ restTokens });
      for (const more of [{}, { AUTH: 'none' }, { NODE_ENV: 'test' }, PRODUCTION])
        expect(readConfig(more)).not.toHaveProperty('restTokens');
    });

    it('has to be decided in production, but not to migrate', () => {
      const refusal = refusalOf({ NODE_ENV: 'production' });
      expect(refusal).toMatch(/^Invalid environment variable AUTH: in production [^\n]*\.$/);
      for (const it of ['AUTH_ISSUER', 'AUTH_AUDIENCE', 'AUTH=none']) expect(refusal).toContain(it);
      expect(() => read({ NODE_ENV: 'production' }, MODULES, 'migrate')).not.toThrow();
    });

    it.each([
      [{ ...JWT, AUTH: 'none' }, 'AUTH: none contradicts AUTH_ISSUER'],
      [{ ...JWT, AUTH_AUDIENCE: '' }, 'AUTH_AUDIENCE: AUTH_ISSUER needs it'],
      [{ ...JWT, ...PRODUCTION, AUTH: '', AUTH_AUDIENCE: '' }, 'AUTH_AUDIENCE: AUTH_ISSUER needs it'],
      [{ ...JWT, AUTH_ISSUER: '' }, 'AUTH_ISSUER: AUTH_AUDIENCE needs it'],
      [{ AUTH: 'jwt' }, 'AUTH_ISSUER: AUTH=jwt needs it'],
      [{ NODE_ENV: 'production', AUTH: 'jwt' }, 'AUTH_ISSUER: AUTH=jwt needs it'],
      [{ AUTH: 'basic' }, 'AUTH: expected jwt or none, got "basic"'],
      ...[
        'http://issuer.example',
        'http://localhost.example',
        'http://127.0.0.1.example',
        'issuer.example',
        'ftp://issuer.example',
        'https://',
        'https://issuer.example/?realm=cabs',
        'https://issuer.example/#cabs',
        'https://issuer example',
        ' https://issuer.example',
      ].map((it): [Record<string, string>, string] => [
        { ...JWT, AUTH_ISSUER: it },
        `AUTH_ISSUER: expected https://… (on this machine also http://…) without query or fragment, got ${JSON.stringify(it)}`,
      ]),
    ])('refuses %j in one line', (variables, says) => {
      const refusal = refusalOf(variables);
      expect(refusal).toMatch(/^Invalid environment variable [^\n]*\.$/);
      expect(refusal).toContain(`Invalid environment variable ${says}`);
    });

    it.each([
      'http://localhost:8080/realms/cabs',
      'http://127.0.0.1:8080',
      'http://[::1]:8080',
      'https://a.example/b/',
    ])('keeps the issuer %s as it is written, since tokens are compared with it', (issuer) => {
      expect(readConfig({ ...JWT, AUTH_ISSUER: issuer })).toMatchObject({ restTokens: { issuer } });
    });
  });

  it('refuses to forget rides before messages about them can come again', () => {
    expect(readConfig({ REPEAT_GUARD_RETENTION: 'P31D' })).toMatchObject({ repeatGuardMs: 31 * DAY_MS });
    const reason = 'a day more than MESH_INBOX_RETENTION and MESH_DEAD_LETTER_RETENTION';
    expect(refusalOf({ REPEAT_GUARD_RETENTION: 'P30D' })).toBe(
      `Invalid environment variable REPEAT_GUARD_RETENTION: expected at least P31D, ${reason}.`,
    );
    expect(refusalOf({ REPEAT_GUARD_RETENTION: 'P40D', MESH_INBOX_RETENTION: 'P39DT1S' })).toContain('at least P41D');
  });

  it('names all invalid variables, each in a line of its own', () => {
    const refusal = refusalOf({ PORT: 'http', MESH_RETRY: 'ten', TARIFF_TIME_ZONE: 'Mars' });
    expect(refusal.split('\n')).toEqual([
      'Invalid environment variable PORT: expected an integer of at least 0, got "http".',
      'Invalid environment variable MESH_RETRY: expected an integer of at least 0, got "ten".',
      'Invalid environment variable TARIFF_TIME_ZONE: expected an IANA time zone such as Europe/Warsaw, got "Mars".',
    ]);
  });

  it.each([
    { DATABASE_URL: 'mysql://cabs:secret@db/cabs' },
    { K_CE_OVERRIDES: '{"extensions":{"to-ken":"secret"}}' },
    { K_CA_CERTS: 'secret' },
    { K_SINK: 'ftp://cabs:secret@broker' },
    { USVC_BAR: 'ftp://cabs:secret@bar' },
    { AUTH_ISSUER: 'https://cabs:secret@issuer.example', AUTH_AUDIENCE: 'cabs' },
    { MESH_ADMIN_TOKEN: 'secret', PORT: 'http' },
    { K_CE_OVERRIDES: '{"extensions":{"id":"secret"}}' },
  ])('prints no secret when it refuses %j', (variables) => {
    expect(refusalOf(variables)).not.toContain('secret');
  });
});

describe('The environment and .env', () => {
  const home = process.cwd();
  const names = ['PORT', 'MESH_RETRY', 'LOG_LEVEL', 'TARIFF_TIME_ZONE'];
  const before = new Map(names.map((name) => [name, process.env[name]]));

  beforeEach(() => {
    process.chdir(mkdtempSync(join(tmpdir(), 'cabs-env-')));
    for (const name of names) delete process.env[name];
  });
  afterEach(() => {
    process.chdir(home);
    for (const [name, value] of before) {
      if (value === undefined) delete process.env[name];
      else process.env[name] = value;
    }
  });

  it('are both read, and the environment wins, also with an empty variable', async () => {
    writeFileSync('.env', 'PORT=8080\nMESH_RETRY=3\nLOG_LEVEL=debug\n# a comment\nTARIFF_TIME_ZONE="UTC"\n');
    Object.assign(process.env, { MESH_RETRY: '4', LOG_LEVEL: '' });
    const { config } = await loadConfig(MODULES);
    expect(config).toMatchObject({ port: 8080, delivery: { retry: 4 }, logLevel: 'info', tariffTimeZone: 'UTC' });
  });

  it('are validated together', async () => {
    writeFileSync('.env', 'PORT=http\n');
    await expect(loadConfig(MODULES)).rejects.toThrow(/^Invalid environment variable PORT: .* got "http"\.$/);
  });

  it('are not read where a test gives variables', async () => {
    writeFileSync('.env', 'PORT=8080\n');
    expect((await loadConfig(MODULES, { variables: {} })).config.port).toBe(3000);
  });

  it('are split into namespaces, one for each reader', async () => {
    const variables = { TARIFF_TIME_ZONE: 'UTC', SEED: 'none' };
    const { module } = await loadConfig(MODULES, { variables });
    const testing = await Test.createTestingModule({ imports: [module] }).compile();
    expect(testing.get(ridesConfig.KEY)).toEqual({ tariffTimeZone: 'UTC' });
    expect(testing.get(demoConfig.KEY)).toEqual({ isSeeded: false });
    expect(testing.get(guardConfig.KEY)).toEqual({ repeatGuardMs: 400 * DAY_MS });
    await testing.close();
  });
});

describe('The application', () => {
  // Before a message is dead: 10 retries wait 204.6 s and 10 % of jitter, 11 attempts take up to 30 s each, a dead letter is requeued for up to 7 days.
  const delivery = { MESH_BACKOFF_DELAY: 'PT0.2S' };

  it("doesn't start when its inbox retention is shorter than the redelivery of a message", async () => {
    const location = await DATABASES[0]!.fresh();
    const start = startCabs(location, { ...delivery, MESH_INBOX_RETENTION: 'P7DT9M15S' });
    await expect(start).rejects.toThrow(
      / MESH_INBOX_RETENTION: the inbox forgets after 7\.01 days, .* reduce MESH_RETRY or MESH_REPLAY_WINDOW\.$/,
    );
  });

  it("doesn't start when its inbox retention is shorter than the wait of a message of an unknown type", async () => {
    const location = await DATABASES[0]!.fresh();
    const start = startCabs(location, { ...delivery, MESH_UNKNOWN_TYPE_GRACE: 'P15D' });
    await expect(start).rejects.toThrow(
      / MESH_INBOX_RETENTION: the inbox forgets after 14\.00 days, .* shorten MESH_UNKNOWN_TYPE_GRACE\.$/,
    );
  });

  it('starts when its inbox retention is just long enough', async () => {
    const location = await DATABASES[0]!.fresh();
    const cabs = await startCabs(location, { ...delivery, MESH_INBOX_RETENTION: 'P7DT9M15.1S' });
    await cabs.close();
  });
});

function refusalOf(variables: Record<string, string | undefined>): string {
  try {
    readConfig(variables);
  } catch (error) {
    return (error as Error).message;
  }
  throw new Error(`No variable was refused: ${JSON.stringify(variables)}`);
}
