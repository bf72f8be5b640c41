import type { LoggerService } from '@nestjs/common';
import { pino, type DestinationStream, type Logger } from 'pino';
import { requestContext } from './request-context.js';

/** A pino logger whose every line carries the correlation id of the journey that wrote it. */
export function createLogger(level: string, destination?: DestinationStream): Logger {
  const options = {
    level,
    base: null,
    timestamp: pino.stdTimeFunctions.isoTime,
    mixin: () => {
      const on = requestContext();
      return on ? { correlationId: on.correlationId } : {};
    },
  };
  return destination ? pino(options, destination) : pino(options);
}

/** What Nest tells of every module and route when it starts; worth a look only when it doesn't. */
const BOOT = new Set<unknown>(['InstanceLoader', 'NestApplication', 'NestFactory', 'RouterExplorer', 'RoutesResolver']);

/** Nest's logger, written by pino: `logger.log({ subject }, 'settled')` becomes one structured line. */
export class PinoLogger implements LoggerService {
  constructor(private readonly pino: Logger) {}

  readonly log = this.at('info');
  error = this.at('error');
  warn = this.at('warn');
  debug = this.at('debug');
  verbose = this.at('trace');
  fatal = this.at('fatal');

  private at(level: 'info' | 'error' | 'warn' | 'debug' | 'trace' | 'fatal') {
    return (first: unknown, ...rest: unknown[]) => {
      // Nest hands over the context last, and the stack of an error before it.
      const context = rest.length > 0 ? String(rest.pop()) : undefined;
      if (level === 'info' && BOOT.has(context)) this.pino.debug({ context }, String(first));
      else if (first instanceof Error) this.pino[level]({ context, err: first }, first.message);
      else if (typeof first === 'object' && first !== null) this.pino[level]({ context, ...first }, rest.join(' '));
      else this.pino[level]({ context, ...(rest[0] ? { stack: rest[0] } : {}) }, String(first));
    };
  }
}
