import type { LoggerService } from '@nestjs/common';
import { pino, type DestinationStream, type LogFn, type Logger } from 'pino';
import { errorMessage } from './error-message.js';
import { MeshLogger } from './mesh-logger.js';
import { requestContext } from './request-context.js';
import { isError, withoutSecrets } from './serialize-error.js';

/** Most bytes of log lines in memory while the reader of standard output is too slow, or stands still. */
const MAX_BUFFERED_BYTES = 8 * 1024 * 1024;
/** Longest that a process which ends waits for the reader of its last lines. */
const MAX_LAST_LINES_MS = 1000;

/**
 * A pino logger that adds the correlation id of the request context to every line. It logs errors without the data that
 * they carry.
 */
export function createLogger(level: string, destination?: DestinationStream): Logger {
  const options = {
    level,
    base: null,
    timestamp: pino.stdTimeFunctions.isoTime,
    mixin: () => {
      const context = requestContext();
      return context ? { correlationId: context.correlationId } : {};
    },
    hooks: { logMethod: logWithoutSecrets },
    // The hook has serialized the error; the serializer of pino would do it again.
    serializers: { err: (error: unknown) => error },
  };
  return pino(options, destination ?? standardOutput());
}

/**
 * Standard output, for a process that must go on without it: lines are dropped when its reader stands still, or its disk is
 * full.
 */
function standardOutput(): DestinationStream {
  let isStalled = false;
  let endsBy = Infinity;
  // Synchronous writing would wait for the reader, and so would everything else.
  const destination = pino.destination({
    // Asked for, so that Node makes a pipe non-blocking.
    dest: process.stdout.fd,
    sync: false,
    maxLength: MAX_BUFFERED_BYTES,
    retryEAGAIN: () => {
      isStalled = true;
      return performance.now() < endsBy;
    },
  });
  destination.on('write', () => (isStalled = false));
  destination.on('error', () => (isStalled = true));
  // Before pino's own listener, which would wait until everything is written.
  process.prependListener('exit', () => {
    endsBy = performance.now() + MAX_LAST_LINES_MS;
    try {
      if (!isStalled) destination.flushSync();
    } catch {
      // Its reader stands still: these lines are dropped, too.
    }
    destination.destroy();
  });
  return destination;
}

/** Logs safe fields. A line without a text gets the message of its error, as pino would do. */
function logWithoutSecrets(this: Logger, args: Parameters<LogFn>, log: LogFn): void {
  const [first, ...rest] = args as [unknown, ...unknown[]];
  if (typeof first !== 'object' || first === null) return log.apply(this, args);
  const fields = isError(first) ? { err: first } : (first as Record<string, unknown>);
  const text = rest.length > 0 || !isError(fields.err) ? rest : [errorMessage(fields.err)];
  log.apply(this, [withoutSecrets(fields), ...text] as unknown as Parameters<LogFn>);
}

/** Loggers of Nest that write a line per module and route at start: logged at debug. */
const BOOT = new Set<unknown>(['InstanceLoader', 'NestApplication', 'NestFactory', 'RouterExplorer', 'RoutesResolver']);

/** Nest's logger on top of pino: `logger.log({ subject }, 'settled')` becomes one structured line. */
export class PinoLogger implements LoggerService {
  constructor(private readonly pino: Logger) {
    MeshLogger.isStructured = true;
  }

  readonly log = this.at('info');
  error = this.at('error');
  warn = this.at('warn');
  debug = this.at('debug');
  verbose = this.at('trace');
  fatal = this.at('fatal');

  private at(level: 'info' | 'error' | 'warn' | 'debug' | 'trace' | 'fatal') {
    return (first: unknown, ...rest: unknown[]) => {
      // The last argument is the name of the logger, the one before it may be a stack.
      const context = rest.length > 0 ? String(rest.pop()) : undefined;
      if (level === 'info' && BOOT.has(context)) this.pino.debug({ context }, String(first));
      else if (isError(first)) this.pino[level]({ context, err: first }, errorMessage(first));
      else if (typeof first === 'object' && first !== null) this.pino[level]({ context, ...first }, rest.join(' '));
      else this.pino[level]({ context, ...(rest[0] ? { stack: rest[0] } : {}) }, String(first));
    };
  }
}
