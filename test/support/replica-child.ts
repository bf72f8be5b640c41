import 'reflect-metadata';
import { setTimeout as wait } from 'node:timers/promises';
import { CommandBus } from '@nestjs/cqrs';
import type { CloudEvent } from '../../src/infrastructure/cloudevents/cloud-event.js';
import { DeadLetters } from '../../src/infrastructure/dead-letters/dead-letters.js';
import { InboxReceiver } from '../../src/infrastructure/delivery/inbox-receiver.js';
import { UnitOfWork } from '../../src/infrastructure/persistence/unit-of-work.js';
import { plant, Work } from './planted.js';

/* One of several processes on a database: it writes down what it handles, sends and receives what it is told, and ends. */

export interface ReplicaOptions {
  readonly name: string;
  readonly database: string;
  readonly notify?: boolean;
  readonly sink?: string;
  /** How long it takes in front of a unit of work, and inside of one; in ms. */
  readonly outsideMs?: number;
  readonly insideMs?: number;
}

export type Order =
  /** Messages, one after the other: the key and the number of each. */
  | { readonly send: [string, number][]; readonly inOneUnit?: boolean }
  | { readonly receive: CloudEvent }
  /** The id of a dead letter. */
  | { readonly replay: string }
  | { readonly end: true };

const { name, database, notify, sink, outsideMs = 0, insideMs = 0 } = JSON.parse(process.argv[2]!) as ReplicaOptions;
const { app } = await plant(
  { database, notify: notify ?? true, ...(sink && { broker: { sink } }) },
  {
    prepare: async ({ data }) => {
      process.send!({ began: data.n });
      if (outsideMs) await wait(outsideMs);
    },
    work: async ({ subject, data }) => {
      const values = [name, subject, data.n];
      await app.get(UnitOfWork).sql.run('INSERT INTO handled (replica, subject, n) VALUES ($1, $2, $3)', values);
      process.send!({ inside: data.n });
      if (insideMs) await wait(insideMs);
    },
  },
);
const commands = app.get(CommandBus);

async function send(messages: [string, number][]): Promise<void> {
  for (const [subject, n] of messages) await commands.execute(new Work(subject, { n }));
}

async function obey(order: Order): Promise<object> {
  if ('send' in order) {
    await (order.inOneUnit ? app.get(UnitOfWork).run(() => send(order.send)) : send(order.send));
    return { sent: order.send.length };
  }
  if ('receive' in order) return { received: await app.get(InboxReceiver).receive('left', order.receive) };
  if ('replay' in order) return { replayed: await app.get(DeadLetters).requeue(order.replay, false) };
  await app.close();
  process.disconnect();
  return {};
}

process.on('message', (order: Order) => {
  void obey(order).then((told) => process.connected && process.send!(told));
});
process.send!({ isReady: true });
