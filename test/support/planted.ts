import 'reflect-metadata';
import { Logger, Module, type DynamicModule, type Type } from '@nestjs/common';
import { CommandHandler, EventsHandler } from '@nestjs/cqrs';
import { Test, type TestingModule } from '@nestjs/testing';
import type { MigrationInterface, QueryRunner } from 'typeorm';
import { z } from 'zod';
import { durableCommand, durableEvent, type DurableMessage } from '../../src/infrastructure/contracts/message.js';
import { MeshFeature } from '../../src/infrastructure/contracts/mesh-feature.js';
import type { MeshOptions } from '../../src/infrastructure/mesh-options.js';
import { MeshModule } from '../../src/infrastructure/mesh.module.js';

/* A mesh with two planted modules, `left` and `right`, whose handlers a test writes as functions. */

/** A source of another system, which may send both messages. */
export const ELSEWHERE = 'https://elsewhere.example/?a=%20b';
const senders = { sentBy: ['left', ELSEWHERE] };

export class Work extends durableCommand('planted.left.work', z.object({ n: z.int() }), senders) {}
export class Happened extends durableEvent('planted.left.happened', z.object({ n: z.int() }), senders) {}
/** An event that only `right` listens to; its handler does nothing. */
export class Settled extends durableEvent('planted.left.settled', z.object({ n: z.int() }), senders) {}

/** What the planted handlers do. A test may change it at any time. */
export interface Behaviour {
  /** The handler of `left` for the command. */
  work: (message: DurableMessage & { data: { n: number } }, prepared?: unknown) => Promise<void>;
  prepare: (message: DurableMessage & { data: { n: number } }) => Promise<unknown>;
  prepareLeft: (message: Happened) => Promise<unknown>;
  /** The handler of `left` for the event. */
  left: (message: Happened) => Promise<void>;
  /** The handler of `right` for the event. */
  right: (message: Happened) => Promise<void>;
}

export interface Planted {
  readonly app: TestingModule;
  readonly behaviour: Behaviour;
}

/** The planted modules. Each handler calls the function that `behaviour` holds at that time. */
export function plantedModules(behaviour: Behaviour): { Left: Type; Right: Type } {
  @CommandHandler(Work)
  class WorkHandler {
    prepare = (message: Work) => behaviour.prepare(message);
    execute = (message: Work, prepared: unknown) => behaviour.work(message, prepared);
  }
  @EventsHandler(Happened)
  class LeftHandler {
    prepare = (message: Happened) => behaviour.prepareLeft(message);
    handle = (message: Happened) => behaviour.left(message);
  }
  @EventsHandler(Happened)
  class RightHandler {
    handle = (message: Happened) => behaviour.right(message);
  }
  @EventsHandler(Settled)
  class SettledHandler {
    handle = idle;
  }
  @MeshFeature({ name: 'left', contract: { Work, Happened, Settled } })
  @Module({ providers: [WorkHandler, LeftHandler] })
  class Left {}
  @MeshFeature({ name: 'right', contract: {} })
  @Module({ providers: [RightHandler, SettledHandler] })
  class Right {}
  return { Left, Right };
}

/** Handlers that do nothing, except the given ones. */
export function behaviourOf(handlers: Partial<Behaviour>): Behaviour {
  return { work: idle, prepare: idle, prepareLeft: idle, left: idle, right: idle, ...handlers };
}

/** Starts the planted modules on a mesh of their own. */
export async function plant(
  options: Pick<MeshOptions, 'database'> & Partial<MeshOptions>,
  handlers: Partial<Behaviour>,
): Promise<Planted> {
  const behaviour = behaviourOf(handlers);
  const { Left, Right } = plantedModules(behaviour);
  const app = await Test.createTestingModule({ imports: meshOf([Left, Right], options) }).compile();
  Logger.overrideLogger(false);
  await app.init();
  return { app, behaviour };
}

/** The imports of an application: a mesh with short backoff delays, and its modules. */
export function meshOf(
  modules: Type[],
  options: Pick<MeshOptions, 'database'> & Partial<MeshOptions>,
): (Type | DynamicModule)[] {
  const delivery = { retry: 3, backoffDelayMs: 20, ...options.delivery };
  return [
    MeshModule.forRoot({
      application: 'planted',
      modules,
      migrations: [{ owner: 'left', migrations: [Effects1763900000000] }],
      migrate: true,
      shutdownGraceMs: 3000,
      ...options,
      delivery,
    }),
    ...(options.hosted ?? modules),
  ];
}

/** A table for the effects of handlers: they are committed or rolled back with the unit of work. */
class Effects1763900000000 implements MigrationInterface {
  async up(runner: QueryRunner): Promise<void> {
    await runner.query('CREATE TABLE left_effect (who text NOT NULL, n integer NOT NULL)');
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.query('DROP TABLE left_effect');
  }
}

async function idle(): Promise<void> {}
