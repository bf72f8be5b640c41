import 'reflect-metadata';
import type { Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { NestFactory } from '@nestjs/core';
import type { NestExpressApplication } from '@nestjs/platform-express';
import { pinoHttp } from 'pino-http';
import { AppModule, MODULE_NAMES } from './app.module.js';
import { readConfig, type Config } from './config.js';
import { configureHttp } from './infrastructure/http/configure-http.js';
import { serveApiPage } from './infrastructure/http/openapi.js';
import { createLogger, PinoLogger } from './infrastructure/observability/logger.js';
import { welcome } from './demo.js';

let config: Config;
try {
  config = readConfig(process.env, MODULE_NAMES);
} catch (error) {
  console.error((error as Error).message);
  process.exit(1);
}

const logger = createLogger(config.logLevel, config.isDevelopment ? await prettyPrinter() : undefined);
const app = await NestFactory.create<NestExpressApplication>(AppModule.with(config), {
  logger: new PinoLogger(logger),
  bodyParser: false,
  abortOnError: false,
}).catch((error: unknown) => {
  logger.fatal({ err: error }, 'The application does not start');
  process.exit(1);
});

configureHttp(app);
app.use(pinoHttp({ logger, quietReqLogger: true, serializers: { req: brief, res: status } }));
serveApiPage(app, 'Meshy Cabs');
app.enableShutdownHooks(undefined, { useProcessExit: true });

try {
  // On a laptop nobody else is to reach it; in a container nobody would otherwise.
  await (config.isDevelopment ? app.listen(config.port, '127.0.0.1') : app.listen(config.port));
} catch (error) {
  logger.fatal({ err: error }, 'The application does not start');
  process.exit(1);
}

const server = app.getHttpServer();
endConnectionsInTime(server, config.shutdownGraceMs);
const { port } = server.address() as AddressInfo;
logger.info({ port }, 'Listening');
if (config.isDevelopment) console.log(welcome(`http://localhost:${port}`, config.seed));

/** A client that keeps its connection open may not hold up a shutdown. */
function endConnectionsInTime(server: Server, graceMs: number): void {
  for (const signal of ['SIGTERM', 'SIGINT'] as const) {
    process.once(signal, () => {
      server.closeIdleConnections();
      setTimeout(() => server.closeAllConnections(), graceMs).unref();
    });
  }
}

/** Development dependencies only: a production image logs JSON. */
async function prettyPrinter() {
  try {
    const { default: pretty } = await import('pino-pretty');
    return pretty({ translateTime: 'SYS:HH:MM:ss.l', ignore: 'pid,hostname', singleLine: true, sync: true });
  } catch {
    return undefined;
  }
}

function brief({ method, url }: { method: string; url: string }) {
  return { method, url };
}

function status({ statusCode }: { statusCode: number }) {
  return { statusCode };
}
