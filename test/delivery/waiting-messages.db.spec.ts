import type { TestingModule } from '@nestjs/testing';
import type { CloudEvent } from '../../src/infrastructure/cloudevents/cloud-event.js';
import { WaitingMessages } from '../../src/infrastructure/delivery/waiting-messages.js';
import type { SqlValue } from '../../src/infrastructure/persistence/sql.js';
import { UnitOfWork } from '../../src/infrastructure/persistence/unit-of-work.js';
import { insertDeliveries } from '../../src/infrastructure/store/delivery-rows.js';
import { DATABASES } from '../support/databases.js';
import { numbers } from '../support/notes.js';
import { plant } from '../support/planted.js';

const KB = 1024;

describe.each(DATABASES)('Messages that waited for a release on $kind', ({ fresh }) => {
  let app: TestingModule;

  beforeEach(async () => {
    const delivery = { retry: 1, backoffPolicy: 'linear' as const, backoffDelayMs: 100 };
    ({ app } = await plant({ database: await fresh(), delivery }, { work: async () => undefined }));
  });
  afterEach(() => app.close());

  /** Messages whose grace has ended, for a consumer that is not at work. */
  const leave = async (count: number, bytes: number) => {
    const event = (n: number): CloudEvent => ({
      specversion: '1.0',
      id: `${n}`,
      source: '/test',
      type: 'unknown',
      data: 'x'.repeat(bytes),
    });
    const deliveries = numbers(count).map((n) => ({ consumer: 'later', event: event(n) }));
    const work = app.get(UnitOfWork);
    await work.run(() => insertDeliveries(work.sql, deliveries, -1000));
  };
  const pages = () => {
    const policy = { retry: 1, backoffPolicy: 'linear' as const, backoffDelayMs: 100, timeoutMs: 1000 };
    const waiting = new WaitingMessages({ name: 'later', policy, deliver: async () => 'handled' });
    return async (...inFlight: SqlValue[]) => {
      const found = await waiting.nextPage(app.get(UnitOfWork).sql, 32, new Map(inFlight.map((seq) => [seq, true])));
      return found.map(({ seq, event }) => ({ seq, id: event.id }));
    };
  };

  it('are loaded together when they are small', async () => {
    await leave(40, KB);
    expect(await pages()()).toHaveLength(32);
  });

  it('are loaded a few at a time when they are large: the next ones when those have been handled', async () => {
    await leave(5, 400 * KB);
    const next = pages();
    const first = await next();
    expect(first.map(({ id }) => id)).toEqual(['0', '1']);
    expect(await next(first[1]!.seq)).toEqual([]);
    expect(await next()).toEqual(first);
  });

  it('are loaded when a single one is larger than others may be together', async () => {
    await leave(2, 1500 * KB);
    expect((await pages()()).map(({ id }) => id)).toEqual(['0']);
  });
});
