import 'reflect-metadata';
import { setTimeout as wait } from 'node:timers/promises';
import { Logger } from '@nestjs/common';
import { Test, type TestingModuleBuilder } from '@nestjs/testing';
import type { NestExpressApplication } from '@nestjs/platform-express';
import request from 'supertest';
import { ABOUT_API } from '../../src/api-page.js';
import { AppModule, MODULE_NAMES } from '../../src/app.module.js';
import { loadConfig } from '../../src/config-loader.js';
import { configureHttp } from '../../src/infrastructure/http/configure-http.js';
import { serveApiPage } from '../../src/infrastructure/http/openapi.js';

/** The whole application on a database of its own, without a port. */
export interface Cabs {
  readonly app: NestExpressApplication;
  /** The agent of supertest. */
  readonly http: ReturnType<typeof request>;
  close(): Promise<void>;
}

/** Starts the application as `main.ts` does, without seed data, with short backoff delays. */
export async function startCabs(
  databaseUrl: string,
  environment: Record<string, string> = {},
  override: (testing: TestingModuleBuilder) => TestingModuleBuilder = (testing) => testing,
): Promise<Cabs> {
  const variables = {
    DATABASE_URL: databaseUrl,
    SEED: 'none',
    LOG_LEVEL: 'silent',
    MESH_BACKOFF_DELAY: 'PT0.02S',
    SHUTDOWN_DELAY: 'PT0S',
    SHUTDOWN_GRACE: 'PT5S',
    ...(environment.NODE_ENV === 'production' && { MESH_PORT: '0', AUTH: environment.AUTH_ISSUER ? 'jwt' : 'none' }),
    ...environment,
  };
  const loaded = await loadConfig(MODULE_NAMES, { variables });
  const root = AppModule.forRoot(loaded);
  const testing = await override(Test.createTestingModule({ imports: [root] })).compile();
  Logger.overrideLogger(false);
  const app = testing.createNestApplication<NestExpressApplication>({ bodyParser: false });
  configureHttp(app);
  if (loaded.config.hasApiPage) serveApiPage(app, ABOUT_API);
  await app.init();
  return { app, http: request(app.getHttpServer()), close: () => app.close() };
}

/** Default deadline of `eventually`, in ms. An idle machine needs a fraction of it, a busy one may need most of it. */
const MAX_WAIT_MS = 60_000;
/** Characters of a value in an error message. */
const MAX_SHOWN_LENGTH = 300;

/** Reads a value every 10 ms until it meets the condition. @throws Error with the last value, shortened, after `ms` */
export async function eventually<T>(
  read: () => Promise<T>,
  isMet: (value: T) => boolean,
  ms = MAX_WAIT_MS,
): Promise<T> {
  const deadline = Date.now() + ms;
  for (;;) {
    const value = await read();
    if (isMet(value)) return value;
    if (Date.now() > deadline) throw new Error(`Condition not met after ${ms} ms; last value: ${shortened(value)}`);
    await wait(10);
  }
}

/**
 * Repeats a scenario until `times` of its runs took less than `ms`. A busy machine may slow down some runs, but a missing
 * notification or a blocked process slows down all of them.
 * @param scenario returns what it measured in ms; without a value the whole run is measured
 * @throws Error with the measured times when `maxRuns` were not enough
 */
export async function expectFasterThan(
  ms: number,
  scenario: (run: number) => Promise<number | void>,
  { times = 1, maxRuns = 5 }: { times?: number; maxRuns?: number } = {},
): Promise<void> {
  const measured: number[] = [];
  while (measured.filter((it) => it < ms).length < times) {
    const list = measured.map((it) => Math.round(it)).join(', ');
    if (measured.length === maxRuns) throw new Error(`Expected ${times} runs of less than ${ms} ms, got ${list} ms`);
    const began = performance.now();
    const own = await scenario(measured.length);
    measured.push(own ?? performance.now() - began);
  }
}

function shortened(value: unknown): string {
  const text = JSON.stringify(value) ?? String(value);
  return text.length > MAX_SHOWN_LENGTH ? `${text.slice(0, MAX_SHOWN_LENGTH)}…` : text;
}
