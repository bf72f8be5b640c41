import type { IncomingMessage } from 'node:http';
import { Inject, Injectable } from '@nestjs/common';
import { QueryBus, type IQuery } from '@nestjs/cqrs';
import { z } from 'zod';
import { fromWire, toWire } from '../cloudevents/mapping.js';
import { Forbidden, NotFound, issuesOf, ValidationFailed } from '../contracts/domain-errors.js';
import { HandlerRegistry } from '../contracts/handler-registry.js';
import { Permissions } from '../contracts/permissions.js';
import { meshRoute, type MeshRoute } from '../http/mesh-route.js';
import { QueryCallers } from './query-callers.js';

/** The injection token of a boolean: whether other processes may ask this one. */
export const ANSWERS_QUERIES = Symbol('ANSWERS_QUERIES');

/** Answers the queries of other processes. */
@Injectable()
export class QueriesRoutes {
  readonly routes: readonly MeshRoute[];

  constructor(
    private readonly registry: HandlerRegistry,
    private readonly permissions: Permissions,
    private readonly queries: QueryBus,
    private readonly callers: QueryCallers,
    @Inject(ANSWERS_QUERIES) isOpen: boolean,
  ) {
    const answer = meshRoute({
      method: 'POST',
      path: '/mesh/queries/:query',
      summary: 'Answers a query of another process',
      guard: callers,
      params: z.object({ query: z.string() }),
      takesBody: true,
      handle: ({ params, body, request }) => this.answer(params.query, body, request),
    });
    this.routes = isOpen ? [answer] : [];
  }

  private async answer(name: string, body: unknown, request: IncomingMessage): Promise<object> {
    const query = this.registry.query(name);
    if (!query) throw new NotFound(`No module of this process answers ${name}`, 'query');
    const callers = this.callers.of(request);
    if (callers && !callers.some((module) => this.permissions.allows(query, module)))
      throw new Forbidden(`${callers.join(', ')} may not ask ${name}: the contract names who may`);
    const data = query.schema.safeParse(fromWire(body));
    if (!data.success) throw new ValidationFailed(issuesOf(data.error));
    const result: unknown = await this.queries.execute(new query(data.data as never) as IQuery);
    // Nothing beyond the contract leaves the module.
    return { result: toWire(query.result.parse(result)) };
  }
}
