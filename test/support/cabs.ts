import 'reflect-metadata';
import { Logger } from '@nestjs/common';
import { Test, type TestingModuleBuilder } from '@nestjs/testing';
import type { NestExpressApplication } from '@nestjs/platform-express';
import request from 'supertest';
import { AppModule, MODULE_NAMES } from '../../src/app.module.js';
import { loadConfig } from '../../src/config-loader.js';
import { configureHttp } from '../../src/infrastructure/http/configure-http.js';

/** The whole application on a database of its own, without a port. */
export interface Cabs {
  readonly app: NestExpressApplication;
  /** supertest's agent */
  readonly http: ReturnType<typeof request>;
  close(): Promise<void>;
}

/** Starts the application as `main.ts` does, seeded only when asked, and fast to give up. */
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
    SHUTDOWN_GRACE: 'PT5S',
    ...environment,
  };
  const root = AppModule.forRoot(await loadConfig(MODULE_NAMES, { variables }));
  const testing = await override(Test.createTestingModule({ imports: [root] })).compile();
  Logger.overrideLogger(false);
  const app = testing.createNestApplication<NestExpressApplication>({ bodyParser: false });
  configureHttp(app);
  await app.init();
  return { app, http: request(app.getHttpServer()), close: () => app.close() };
}

/** Looks every 10 ms until it is so. @throws Error with the last look after `ms` */
export async function eventually<T>(look: () => Promise<T>, isSo: (seen: T) => boolean, ms = 10_000): Promise<T> {
  const deadline = Date.now() + ms;
  for (;;) {
    const seen = await look();
    if (isSo(seen)) return seen;
    if (Date.now() > deadline) throw new Error(`Still not so after ${ms} ms: ${JSON.stringify(seen)}`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}
