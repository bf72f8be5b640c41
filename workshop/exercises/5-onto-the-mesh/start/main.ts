import 'reflect-metadata';
import { NestFactory } from '@nestjs/core';
import type { NestExpressApplication } from '@nestjs/platform-express';
import { loadConfig } from '../../src/config-loader.js';
import { configureHttp } from '../../src/infrastructure/http/configure-http.js';
import { createLogger, PinoLogger } from '../../src/infrastructure/observability/logger.js';
import { AppModule, MODULE_NAMES } from './app.module.js';

const loaded = await loadConfig(MODULE_NAMES);
const { config } = loaded;
const app = await NestFactory.create<NestExpressApplication>(AppModule.forRoot(loaded), {
  logger: new PinoLogger(createLogger(config.logLevel)),
  bodyParser: false,
});
configureHttp(app);
app.enableShutdownHooks(undefined, { useProcessExit: true });
await app.listen(config.port, '127.0.0.1');
