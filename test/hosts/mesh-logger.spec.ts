import { ConsoleLogger, Logger } from '@nestjs/common';
import { QueryFailedError } from 'typeorm';
import { createLogger, PinoLogger } from '../../src/infrastructure/observability/logger.js';
import { MeshLogger } from '../../src/infrastructure/observability/mesh-logger.js';

describe('The log of the mesh in an application', () => {
  const lines: string[] = [];
  const logger = new MeshLogger('Mesh');

  beforeEach(() => {
    lines.length = 0;
    MeshLogger.isStructured = false;
  });
  afterAll(() => Logger.overrideLogger(false));

  /** The logger that `nest new` gives an application. */
  class Terminal extends ConsoleLogger {
    protected override printMessages(messages: unknown[], context?: string, level?: string): void {
      for (const it of messages) lines.push(`${level} ${context} ${String(it)}`);
    }
    protected override printStackTrace(stack: string): void {
      lines.push(...stack.split('\n').slice(0, 1));
    }
  }

  it('has one line for each message, at debug', () => {
    Logger.overrideLogger(new Terminal());
    logger.message(
      { consumer: 'orders', type: 'host.placed', subject: '1', lagMs: 2, undefined: undefined },
      'handled',
    );
    expect(lines).toEqual(['debug Mesh handled: consumer=orders type=host.placed subject=1 lagMs=2']);
  });

  it('has the message of an error, its stack only for errors, and no parameters of statements', () => {
    Logger.overrideLogger(new Terminal());
    const err = new QueryFailedError('INSERT INTO people VALUES (?)', ['Jan Nowak'], new Error('table is locked'));
    logger.warn({ attempts: 2, err }, 'Failed: will be retried');
    logger.error({ err }, 'Failed for good');
    expect(lines).toEqual([
      'warn Mesh Failed: will be retried: attempts=2 err="table is locked"',
      'error Mesh Failed for good: err="table is locked"',
      'QueryFailedError: table is locked',
    ]);
    lines.length = 0;
    logger.log({ oldest: { pid: 1 } }, 'Found');
    logger.log({}, 'Cleaned up');
    expect(lines).toEqual(['log Mesh Found: oldest={"pid":1}', 'log Mesh Cleaned up']);
  });

  it('has fields where the application has a structured logger', () => {
    const write = (line: string) => void lines.push(line);
    Logger.overrideLogger(new PinoLogger(createLogger('info', { write })));
    logger.message({ consumer: 'orders' }, 'handled');
    logger.error({ err: new Error('no') }, 'Failed');
    const [handled, failed] = lines.map((line) => JSON.parse(line) as object);
    expect(handled).toMatchObject({ level: 30, context: 'Mesh', consumer: 'orders', msg: 'handled' });
    expect(failed).toMatchObject({ level: 50, err: { type: 'Error', message: 'no' }, msg: 'Failed' });
  });
});
