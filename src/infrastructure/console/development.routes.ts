import { Inject, Injectable } from '@nestjs/common';
import { ModuleRef } from '@nestjs/core';
import { z } from 'zod';
import { Conflict, NotFound } from '../contracts/domain-errors.js';
import { HandlerRegistry } from '../contracts/handler-registry.js';
import { InboxReceiver } from '../delivery/inbox-receiver.js';
import { AdministrationGuard } from '../http/administration.js';
import { meshRoute, type MeshRoute } from '../http/mesh-route.js';
import { validated } from '../http/validation.js';
import { CONSOLE, type ConsoleOptions } from './console-options.js';
import type { Faults } from './faults.js';

const naming = z.object({ name: z.string() });
const killing = z.object({ module: z.string().optional() });
const disturbing = z.object({
  consumer: z.string(),
  kind: z.enum(['fail', 'reject', 'slow']),
  seconds: z.number().min(1).max(60),
});

/** The buttons of the console that exist in development only: to see what the mesh does when something fails. */
@Injectable()
export class ConsoleDevelopmentRoutes {
  readonly routes: readonly MeshRoute[];
  private faults?: Promise<Faults>;

  constructor(
    @Inject(CONSOLE) private readonly options: ConsoleOptions | undefined,
    private readonly registry: HandlerRegistry,
    private readonly receiver: InboxReceiver,
    private readonly app: ModuleRef,
    guard: AdministrationGuard,
  ) {
    const common = { method: 'POST', isHidden: true, guard, status: 202 } as const;
    const routes = [
      meshRoute({
        ...common,
        path: '/mesh/console/actions/:name',
        summary: 'Does what the application offers',
        params: naming,
        handle: ({ params: { name } }) => this.act(name),
      }),
      meshRoute({
        ...common,
        path: '/mesh/console/faults',
        summary: 'Disturbs a consumer for a while',
        takesBody: true,
        handle: ({ body }) => this.disturb(body),
      }),
      meshRoute({
        ...common,
        path: '/mesh/console/kill',
        summary: 'Kills this process',
        query: killing,
        handle: async ({ query: { module }, response }) => {
          if (module !== undefined) this.assertHosts(module, 'module');
          response.once('finish', () => process.kill(process.pid, 'SIGKILL'));
          return { pid: process.pid };
        },
      }),
    ];
    this.routes = options && guard.administration.isDevelopment ? routes : [];
  }

  private assertHosts(module: string, field: string): void {
    if (!this.registry.hosts(module)) throw new NotFound(`This process hosts no module ${module}`, field);
  }

  private async act(name: string): Promise<object> {
    const action = this.options?.actions?.find((it) => it.name === name);
    if (!action) throw new NotFound(`There is no action ${name}`, 'name');
    try {
      return { message: await action.run(this.app) };
    } catch (error) {
      throw new Conflict((error as Error).message);
    }
  }

  private async disturb(body: unknown): Promise<object> {
    const { consumer, kind, seconds } = await validated(disturbing, body);
    this.assertHosts(consumer, 'consumer');
    this.faults ??= import('./faults.js').then((it) => new it.Faults(this.receiver));
    (await this.faults).disturb(consumer, kind, seconds * 1000);
    return { consumer, kind, seconds };
  }
}
