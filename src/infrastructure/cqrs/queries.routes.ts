import { Body, Controller, HttpCode, Inject, Param, Post, Req, UseFilters, UseGuards } from '@nestjs/common';
import { QueryBus, type IQuery } from '@nestjs/cqrs';
import { fromWire, toWire } from '../cloudevents/mapping.js';
import { Forbidden, NotFound, ValidationFailed } from '../contracts/domain-errors.js';
import { HandlerRegistry } from '../contracts/handler-registry.js';
import { Permissions } from '../contracts/permissions.js';
import { ServedOn } from '../http/listener.guard.js';
import { Operation } from '../http/openapi.js';
import { ProblemFilter } from '../http/problem.filter.js';
import { callersOf, QueryCallersGuard } from './query-callers.guard.js';

/** The injection token of a boolean: whether other processes may ask this one. */
export const ANSWERS_QUERIES = Symbol('ANSWERS_QUERIES');

/** Answers the queries of other processes, with problem documents also where the application has other error bodies. */
@UseFilters(ProblemFilter)
@UseGuards(QueryCallersGuard)
@ServedOn('mesh')
@Controller('mesh/queries')
export class QueriesController {
  constructor(
    private readonly registry: HandlerRegistry,
    private readonly permissions: Permissions,
    private readonly queries: QueryBus,
    @Inject(ANSWERS_QUERIES) private readonly isOpen: boolean,
  ) {}

  @Post(':query')
  @HttpCode(200)
  @Operation('Answers a query of another process')
  async answer(@Param('query') name: string, @Body() body: unknown, @Req() request: object): Promise<object> {
    const query = this.isOpen ? this.registry.query(name) : undefined;
    if (!query) throw new NotFound(`No module of this process answers ${name}`, 'query');
    const callers = callersOf(request);
    if (callers && !callers.some((module) => this.permissions.allows(query, module)))
      throw new Forbidden(`${callers.join(', ')} may not ask ${name}: the contract names who may`);
    const data = query.schema.safeParse(fromWire(body));
    if (!data.success) {
      throw new ValidationFailed(
        data.error.issues.map(({ path, message }) => ({ field: path.map(String).join('.'), detail: message })),
      );
    }
    const result: unknown = await this.queries.execute(new query(data.data as never) as IQuery);
    // Nothing beyond the contract leaves the module.
    return { result: toWire(query.result.parse(result)) };
  }
}
