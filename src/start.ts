import type { AddressInfo, ListenOptions } from 'node:net';
import { NestFactory } from '@nestjs/core';
import type { NestExpressApplication } from '@nestjs/platform-express';
import { ABOUT_API } from './api-page.js';
import { AppModule, LOOPBACK, MODULE_NAMES } from './app.module.js';
import { loadConfig } from './config-loader.js';
import type { Config } from './config.js';
import { welcome } from './demo.js';
import { configureHttp } from './infrastructure/http/configure-http.js';
import { BACKLOG } from './infrastructure/http/configure-server.js';
import { MeshListener } from './infrastructure/http/mesh-listener.js';
import { serveApiPage } from './infrastructure/http/openapi.js';
import { createLogger, PinoLogger } from './infrastructure/observability/logger.js';
import { openConsole } from './open-console.js';
import { requestLog } from './request-log.js';

/**
 * Starts the application as the environment configures it. Exits with code 1 when it doesn't start. From then on a signal
 * stops it in order.
 */
export async function start(): Promise<void> {
  const loaded = await loadConfig(MODULE_NAMES).catch((error: Error) => {
    console.error(error.message);
    process.exit(1);
  });
  const { config } = loaded;
  const logger = createLogger(config.logLevel, config.isDevelopment ? await prettyPrinter() : undefined);
  // Node would print all fields of the error, also the parameters of a statement.
  process.on('uncaughtException', (error) => {
    logger.fatal({ err: error }, 'The process ends: an error was not caught');
    process.exit(1);
  });
  try {
    const app = await NestFactory.create<NestExpressApplication>(AppModule.forRoot(loaded), {
      logger: new PinoLogger(logger),
      bodyParser: false,
      abortOnError: false,
    });
    // First, so that refused bodies are logged, too.
    app.use(requestLog(logger));
    if (config.isDevelopment) app.use(openConsole(`${meshUrlOf(config)}/mesh/console`));
    configureHttp(app);
    if (config.hasApiPage) serveApiPage(app, ABOUT_API);
    const options: ListenOptions = {
      port: config.port,
      ...(config.isDevelopment && { host: LOOPBACK }),
      backlog: BACKLOG,
    };
    // Nest passes on what Node takes, and declares less.
    await app.listen(options as unknown as number);
    app.enableShutdownHooks(undefined, { useProcessExit: true });
    const { port } = app.getHttpServer().address() as AddressInfo;
    const meshPort = app.get(MeshListener).port;
    logger.info({ port, ...(meshPort !== undefined && { meshPort }) }, 'Listening');
    if (config.isDevelopment) {
      console.log(welcome(`http://localhost:${port}`, config.seed, `http://localhost:${meshPort ?? port}`));
    }
  } catch (error) {
    logger.fatal({ err: error }, 'The application does not start');
    process.exit(1);
  }
}

/** Where the mesh is, seen from a page of the application. */
function meshUrlOf({ meshPort }: Config): string {
  return meshPort === undefined ? '' : `http://localhost:${meshPort}`;
}

/** pino-pretty is a development dependency, so a production image logs JSON. */
async function prettyPrinter() {
  try {
    const { default: pretty } = await import('pino-pretty');
    return pretty({ translateTime: 'SYS:HH:MM:ss.l', ignore: 'pid,hostname', singleLine: true, sync: true });
  } catch {
    return undefined;
  }
}
