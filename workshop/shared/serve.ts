import 'reflect-metadata';
import type { Type } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import type { NestExpressApplication } from '@nestjs/platform-express';
import type { Request, Response } from 'express';
import { configureHttp } from '../../src/infrastructure/http/configure-http.js';
import { ProblemFilter } from '../../src/infrastructure/http/problem.filter.js';

/** Serves a step, or one service of it, at `PORT`. Validation and problem documents are those of the application. */
export async function serve(module: Type): Promise<void> {
  const app = await NestFactory.create<NestExpressApplication>(module, {
    logger: ['fatal', 'error', 'warn'],
    bodyParser: false,
  });
  configureHttp(app);
  app.useGlobalFilters(new ProblemFilter());
  app.use('/health/ready', (_: Request, response: Response) => void response.json({ status: 'ready' }));
  app.enableShutdownHooks(undefined, { useProcessExit: true });
  // Only programs on this machine may connect.
  const server = await app.listen(Number(process.env.PORT), '127.0.0.1');
  process.once('SIGTERM', () => server.closeAllConnections());
}
