import 'reflect-metadata';
import { NestFactory } from '@nestjs/core';
import type { NestExpressApplication } from '@nestjs/platform-express';
import { readConfig } from '../../src/config.js';
import { configureHttp } from '../../src/infrastructure/http/http.js';
import { createLogger, PinoLogger } from '../../src/infrastructure/observability/logger.js';
import { AppModule, MODULE_NAMES } from './app.module.js';

const config = readConfig(process.env, MODULE_NAMES);
const app = await NestFactory.create<NestExpressApplication>(AppModule.with(config), {
  logger: new PinoLogger(createLogger(config.logLevel)),
  bodyParser: false,
});
configureHttp(app);
app.enableShutdownHooks(undefined, { useProcessExit: true });
await app.listen(config.port, '127.0.0.1');
