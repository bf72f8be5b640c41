import 'reflect-metadata';
import type { Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { NestFactory } from '@nestjs/core';
import type { NestExpressApplication } from '@nestjs/platform-express';
import { AppModule, LOOPBACK, MODULE_NAMES } from './app.module.js';
import { loadConfig } from './config-loader.js';
import { welcome } from './demo.js';
import { configureHttp } from './infrastructure/http/configure-http.js';
import { MeshListener } from './infrastructure/http/mesh-listener.js';
import { serveApiPage } from './infrastructure/http/openapi.js';
import { createLogger, PinoLogger } from './infrastructure/observability/logger.js';
import { requestLog } from './request-log.js';

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
const app = await NestFactory.create<NestExpressApplication>(AppModule.forRoot(loaded), {
  logger: new PinoLogger(logger),
  bodyParser: false,
  abortOnError: false,
}).catch((error: unknown) => {
  logger.fatal({ err: error }, 'The application does not start');
  process.exit(1);
});

// First, so that refused bodies are logged, too.
app.use(requestLog(logger));
configureHttp(app);
serveApiPage(app, 'Meshy Cabs');
app.enableShutdownHooks(undefined, { useProcessExit: true });

try {
  await (config.isDevelopment ? app.listen(config.port, LOOPBACK) : app.listen(config.port));
} catch (error) {
  logger.fatal({ err: error }, 'The application does not start');
  process.exit(1);
}

const server = app.getHttpServer();
closeConnectionsOnShutdown(server, config.shutdownGraceMs);
const { port } = server.address() as AddressInfo;
const meshPort = app.get(MeshListener).port;
logger.info({ port, ...(meshPort !== undefined && { meshPort }) }, 'Listening');
if (config.isDevelopment) {
  console.log(welcome(`http://localhost:${port}`, config.seed, `http://localhost:${meshPort ?? port}`));
}

/** A client that keeps its connection open must not delay the shutdown. */
function closeConnectionsOnShutdown(server: Server, graceMs: number): void {
  for (const signal of ['SIGTERM', 'SIGINT'] as const) {
    process.once(signal, () => {
      server.closeIdleConnections();
      setTimeout(() => server.closeAllConnections(), graceMs).unref();
    });
  }
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
