import 'reflect-metadata';
import { setTimeout as wait } from 'node:timers/promises';
import { Logger } from '@nestjs/common';
import { CommandBus } from '@nestjs/cqrs';
import type { CloudEvent } from '../../src/infrastructure/cloudevents/cloud-event.js';
import { DeadLetters } from '../../src/infrastructure/dead-letters/dead-letters.js';
import { InboxReceiver } from '../../src/infrastructure/delivery/inbox-receiver.js';
import { UnitOfWork } from '../../src/infrastructure/persistence/unit-of-work.js';
import { plant, Work } from './planted.js';

/* One of several processes on a database. It records the messages that it handles, and executes the instructions of the test. */

export interface ReplicaOptions {
  readonly name: string;
  readonly database: string;
  readonly notify?: boolean;
  readonly sink?: string;
  /** Duration of prepare(), in ms. */
  readonly prepareMs?: number;
  /** Duration of the handler inside its unit of work, in ms. */
  readonly unitMs?: number;
}

export type Instruction =
  /** Sends messages one after another: key and number of each. */
  | { readonly send: [string, number][]; readonly inOneUnit?: boolean }
  | { readonly receive: CloudEvent }
  /** Id of a dead letter. */
  | { readonly requeue: string }
  | { readonly end: true };

const { name, database, notify, sink, prepareMs = 0, unitMs = 0 } = JSON.parse(process.argv[2]!) as ReplicaOptions;
const { app } = await plant(
  { database, notify: notify ?? true, ...(sink && { broker: { sink } }) },
  {
    prepare: async ({ data }) => {
      process.send!({ preparing: data.n });
      if (prepareMs) await wait(prepareMs);
    },
    work: async ({ subject, data }) => {
      const values = [name, subject, data.n];
      await app.get(UnitOfWork).sql.run('INSERT INTO handled (replica, subject, n) VALUES ($1, $2, $3)', values);
      process.send!({ insideUnit: data.n });
      if (unitMs) await wait(unitMs);
    },
  },
);
const commands = app.get(CommandBus);
// A failed test shows what went wrong in its processes.
const tell = (message: unknown) => void (process.connected && process.send!({ logged: `${name}: ${String(message)}` }));
Logger.overrideLogger({ log: () => undefined, warn: tell, error: tell });

async function send(messages: [string, number][]): Promise<void> {
  for (const [subject, n] of messages) await commands.execute(new Work(subject, { n }));
}

async function execute(instruction: Instruction): Promise<object> {
  if ('send' in instruction) {
    await (instruction.inOneUnit ? app.get(UnitOfWork).run(() => send(instruction.send)) : send(instruction.send));
    return { sent: instruction.send.length };
  }
  if ('receive' in instruction) return { received: await app.get(InboxReceiver).receive('left', instruction.receive) };
  if ('requeue' in instruction) return { requeued: await app.get(DeadLetters).requeue(instruction.requeue, false) };
  await app.close();
  process.disconnect();
  return {};
}

process.on('message', (instruction: Instruction) => {
  void execute(instruction).then((reply) => process.connected && process.send!(reply));
});
process.send!({ isReady: true });
