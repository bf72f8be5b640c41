import { Inject, Injectable, type Type } from '@nestjs/common';
import { asyncApiDocument } from '../cloudevents/asyncapi.js';
import { ALL_MODULES } from '../contracts/handler-registry.js';
import { APPLICATION } from '../contracts/permissions.js';
import { AdministrationGuard } from '../http/administration.js';
import { meshRoute, type MeshRoute } from '../http/mesh-route.js';

@Injectable()
export class AsyncApiRoutes {
  readonly routes: readonly MeshRoute[];

  constructor(
    @Inject(APPLICATION) application: string,
    @Inject(ALL_MODULES) modules: readonly Type[],
    guard: AdministrationGuard,
  ) {
    const show = meshRoute({
      method: 'GET',
      path: '/asyncapi.json',
      summary: 'The messages of all contracts, and who sends and receives them, as AsyncAPI 3',
      guard,
      handle: async () => asyncApiDocument({ application, modules }),
    });
    this.routes = [show];
  }
}
