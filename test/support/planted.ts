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

export class Work extends durableCommand('planted.left.work', z.object({ n: z.int() })) {}
export class Happened extends durableEvent('planted.left.happened', z.object({ n: z.int() })) {}

/** What the planted handlers do; a test changes them. */
export interface Behaviour {
  /** `left` on the command. */
  work: (message: DurableMessage & { data: { n: number } }, prepared?: unknown) => Promise<void>;
  prepare: (message: DurableMessage & { data: { n: number } }) => Promise<unknown>;
  prepareLeft: (message: Happened) => Promise<unknown>;
  /** `left` on the event. */
  left: (message: Happened) => Promise<void>;
  /** `right` on the event. */
  right: (message: Happened) => Promise<void>;
}

export interface Planted {
  readonly app: TestingModule;
  readonly behaviour: Behaviour;
}

/** The planted modules, which do what `behaviour` says at the time. */
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
  @MeshFeature({ name: 'left', contract: { Work, Happened } })
  @Module({ providers: [WorkHandler, LeftHandler] })
  class Left {}
  @MeshFeature({ name: 'right', contract: {} })
  @Module({ providers: [RightHandler] })
  class Right {}
  return { Left, Right };
}

/** Handlers that do nothing, but for what is said. */
export function behaviourOf(does: Partial<Behaviour>): Behaviour {
  return { work: idle, prepare: idle, prepareLeft: idle, left: idle, right: idle, ...does };
}

/** Starts the planted modules on a mesh of their own. */
export async function plant(
  options: Pick<MeshOptions, 'database'> & Partial<MeshOptions>,
  does: Partial<Behaviour>,
): Promise<Planted> {
  const behaviour = behaviourOf(does);
  const { Left, Right } = plantedModules(behaviour);
  const app = await Test.createTestingModule({ imports: meshOf([Left, Right], options) }).compile();
  Logger.overrideLogger(false);
  await app.init();
  return { app, behaviour };
}

/** A mesh and its modules, fast to retry. */
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

/** A table for the effects of handlers, so that they are committed or rolled back with the unit. */
class Effects1763900000000 implements MigrationInterface {
  async up(runner: QueryRunner): Promise<void> {
    await runner.query('CREATE TABLE left_effect (who text NOT NULL, n integer NOT NULL)');
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.query('DROP TABLE left_effect');
  }
}

async function idle(): Promise<void> {}
