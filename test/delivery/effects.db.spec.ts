import { randomUUID } from 'node:crypto';
import { setTimeout as wait } from 'node:timers/promises';
import { Module } from '@nestjs/common';
import { CommandHandler, EventBus, EventsHandler } from '@nestjs/cqrs';
import { Test, type TestingModule } from '@nestjs/testing';
import { z } from 'zod';
import { MeshFeature } from '../../src/infrastructure/contracts/mesh-feature.js';
import {
  durableCommand,
  durableEvent,
  Reject,
  type Attempt,
  type DurableEventHandler,
  type EffectHandler,
} from '../../src/infrastructure/contracts/message.js';
import { DeadLetters } from '../../src/infrastructure/dead-letters/dead-letters.js';
import { InboxReceiver } from '../../src/infrastructure/delivery/inbox-receiver.js';
import { MeshModule } from '../../src/infrastructure/mesh.module.js';
import { Outbox } from '../../src/infrastructure/outbox/outbox.js';
import { Relay } from '../../src/infrastructure/outbox/relay.js';
import { UnitOfWork } from '../../src/infrastructure/persistence/unit-of-work.js';
import { outboxStatistics } from '../../src/infrastructure/store/statistics.js';
import { eventually } from '../support/cabs.js';
import { DATABASES } from '../support/databases.js';
import { MailServer } from '../support/smtp-server.js';

/* Handlers with perform(): mails by nodemailer to a real SMTP server. */

class Ordered extends durableEvent('effects.shop.ordered', z.object({ item: z.string() }), {
  sentBy: ['shop', 'https://partner.example'],
}) {}
class PayOut extends durableCommand('effects.mails.pay-out', z.object({ cents: z.int() }), { sentBy: ['shop'] }) {}

const RETRY = 3;
const TYPE = 'mails/effects.shop.ordered';

describe.each(DATABASES)('Side effects on $kind', ({ fresh }) => {
  let app: TestingModule;
  let mails: MailServer;
  let attempts: Attempt[] = [];
  let noted: string[] = [];
  /** Called in perform() before the mail. */
  let before: (attempt: Attempt) => Promise<void> | void;

  beforeEach(async () => {
    mails = await MailServer.start();
    [attempts, noted, before] = [[], [], () => undefined];

    @EventsHandler(Ordered)
    class MailOnOrdered implements EffectHandler<Ordered>, DurableEventHandler<Ordered> {
      readonly policy = { timeoutMs: 4000, concurrency: 5 };
      private readonly smtp = mails.client();

      async handle({ subject }: Ordered) {
        noted.push(`handled ${subject}`);
      }

      async perform({ subject, data: { item } }: Ordered, attempt: Attempt) {
        attempts.push(attempt);
        await before(attempt);
        const [from, to] = ['shop@example.com', 'eve@example.com'];
        const text = `Thank you for order ${subject} of ${item}`;
        await this.smtp.sendMail({ from, to, subject: 'Your order', text, messageId: `<${attempt.id}>` });
      }
    }

    @CommandHandler(PayOut)
    class PayOutHandler implements EffectHandler<PayOut> {
      readonly policy = { timeoutMs: 200 };

      async perform({ data: { cents } }: PayOut, attempt: Attempt) {
        attempts.push(attempt);
        if (cents < 0) throw new Reject('Nothing to pay out');
        await before(attempt);
        noted.push(`paid ${cents}`);
      }
    }

    @EventsHandler(Ordered)
    class NoteOnOrdered implements DurableEventHandler<Ordered> {
      async handle({ subject }: Ordered) {
        noted.push(`noted ${subject}`);
      }
    }

    @MeshFeature({ name: 'shop', contract: { Ordered } })
    @Module({ providers: [NoteOnOrdered] })
    class ShopModule {}
    @MeshFeature({ name: 'mails', contract: { PayOut } })
    @Module({ providers: [MailOnOrdered, PayOutHandler] })
    class MailsModule {}

    const delivery = { retry: RETRY, backoffDelayMs: 20 };
    const modules = [ShopModule, MailsModule];
    const options = { application: 'effects', modules, database: await fresh(), migrate: true, delivery };
    app = await Test.createTestingModule({ imports: [MeshModule.forRoot(options), ...modules] }).compile();
    await app.init();
  });
  afterEach(async () => {
    await app.close();
    await mails.stop();
  });

  const work = () => app.get(UnitOfWork);
  const order = (subject: string = randomUUID()) =>
    work().run(async () => app.get(EventBus).publish(new Ordered(subject, { item: 'tea' })));
  const pay = (cents: number) => work().run(async () => app.get(Outbox).add(new PayOut('a', { cents })));
  const statistics = () => outboxStatistics(work().sql);
  const settled = () => eventually(statistics, ({ pending }) => pending === 0);
  const rows = () =>
    work().sql.all<{ attempts: number; due_at: number; last_error: string }>(
      'SELECT attempts, due_at, last_error FROM mesh_delivery WHERE consumer = $1',
      [TYPE],
    );

  it('a slow server gets one mail, while everything else goes on', async () => {
    mails.slow(2500);
    const began = performance.now();
    await order('a');
    await eventually(
      async () => noted.length,
      (n) => n === 2,
    );
    expect(performance.now() - began).toBeLessThan(2000);
    expect(mails.accepted).toEqual([]);
    await settled();
    expect(mails.accepted).toEqual([attempts[0]!.id]);
    expect(attempts).toHaveLength(1);
    expect(noted.sort()).toEqual(['handled a', 'noted a']);
  });

  it('a transaction that rolls back sends no mail', async () => {
    const failing = work().run(async () => {
      app.get(EventBus).publish(new Ordered('a', { item: 'tea' }));
      throw new Error('sold out');
    });
    await expect(failing).rejects.toThrow('sold out');
    await order('b');
    await settled();
    expect(noted.sort()).toEqual(['handled b', 'noted b']);
    expect(mails.accepted).toHaveLength(1);
  });

  it('a mail that is refused for now is sent again with the same id, its transaction is not repeated', async () => {
    mails.receive = async () => {
      if (attempts.length < 3) throw MailServer.refusal;
    };
    await order('a');
    await settled();
    expect(attempts.map(({ number }) => number)).toEqual([1, 2, 3]);
    expect(new Set(attempts.map(({ id }) => id)).size).toBe(1);
    expect(mails.accepted).toEqual([attempts[0]!.id]);
    expect(noted.sort()).toEqual(['handled a', 'noted a']);
  });

  it('an attempt is counted before it begins, and put off for longer than it may take', async () => {
    let during: Awaited<ReturnType<typeof rows>> = [];
    before = async () => {
      during = await rows();
    };
    await order();
    await settled();
    expect(during).toMatchObject([{ attempts: 1, last_error: expect.stringContaining('did not end') as string }]);
    expect(during[0]!.due_at - Date.now()).toBeGreaterThan(2000);
  });

  it('attempts that ended their process are used up, too', async () => {
    before = () => new Promise(() => undefined);
    await order();
    await eventually(rows, (it) => it[0]?.attempts === 1);
    // As it is after a crash during the last attempt.
    const columns = 'consumer, id, type, partition_key, event, created_at, last_error';
    await work().run(async () => {
      const copy = `SELECT ${columns}, ${RETRY + 1}, 0 FROM mesh_delivery`;
      await work().sql.run(`INSERT INTO mesh_delivery (${columns}, attempts, due_at) ${copy}`);
      await work().sql.run('DELETE FROM mesh_delivery WHERE attempts = 1');
    });
    const letters = () => app.get(DeadLetters).list({}, { limit: 10, offset: 0 });
    const [letter] = await eventually(letters, (it) => it.length > 0, 10_000);
    expect(letter).toMatchObject({ consumer: TYPE, error: expect.stringContaining('did not end') as string });
    expect(attempts).toHaveLength(1);
  });

  it('what takes too long is told so, retried, and becomes a dead letter of its own, which can be replayed', async () => {
    const signals: AbortSignal[] = [];
    before = ({ signal }) => {
      signals.push(signal);
      return new Promise(() => undefined);
    };
    await pay(5);
    const letters = () => app.get(DeadLetters).list({}, { limit: 10, offset: 0 });
    const [letter] = await eventually(letters, (it) => it.length > 0, 10_000);
    expect(letter).toMatchObject({
      consumer: 'mails/effects.mails.pay-out',
      attempts: RETRY + 1,
      error: 'Error: perform() of PayOutHandler took more than 200 ms',
    });
    expect(signals).toHaveLength(RETRY + 1);
    expect(signals.every(({ aborted }) => aborted)).toBe(true);
    before = () => undefined;
    expect(await app.get(DeadLetters).requeueAll({ consumer: letter!.consumer }, false)).toEqual({
      replayed: 1,
      skipped: [],
    });
    await eventually(
      async () => noted,
      (it) => it.includes('paid 5'),
    );
    expect(new Set(attempts.map(({ id }) => id)).size).toBe(1);
  });

  it('Reject needs no retry', async () => {
    await pay(-1);
    await eventually(statistics, ({ deadLetters }) => deadLetters === 1);
    expect(attempts).toHaveLength(1);
  });

  it('many wait for their turn, and refuse no requests', async () => {
    mails.slow(100);
    const ids = Array.from({ length: 60 }, () => randomUUID());
    await Promise.all(ids.map((id) => order(id)));
    await eventually(
      async () => noted.length,
      (n) => n === 120,
    );
    await wait(300);
    expect(mails.accepted.length).toBeLessThan(60);
    expect(app.get(Relay).backlogAgeMs).toBe(0);
    await settled();
    expect(mails.accepted).toHaveLength(60);
    expect(new Set(mails.accepted).size).toBe(60);
    expect(mails.mostAtOnce).toBeLessThanOrEqual(5);
  });

  it('an event that is delivered twice from outside is performed once', async () => {
    const event = {
      specversion: '1.0' as const,
      id: '0197f8a0-0000-7000-8000-000000000001',
      source: 'https://partner.example',
      type: Ordered.type,
      subject: 'a',
      time: new Date().toISOString(),
      data: { item: 'tea' },
    };
    const receiver = app.get(InboxReceiver);
    const outcomes = await Promise.all([receiver.receive('mails', event), receiver.receive('mails', event)]);
    expect(outcomes.sort()).toEqual(['duplicate', 'handled']);
    await settled();
    expect(await receiver.receive('mails', event)).toBe('duplicate');
    await settled();
    expect(mails.accepted).toEqual([event.id]);
  });
});
