import { Body, Controller, HttpCode, Param, Post, UseFilters } from '@nestjs/common';
import { QueryBus, type IQuery } from '@nestjs/cqrs';
import { ValidationFailed, NotFound } from '../contracts/domain-errors.js';
import { fromWire, toWire } from '../cloudevents/cloud-event.js';
import { HandlerRegistry } from '../contracts/handler-registry.js';
import { Operation } from '../http/openapi.js';
import { ProblemFilter } from '../http/problem.filter.js';

/** Answers the queries of modules that live elsewhere, in our words whatever the manners of the application. */
@UseFilters(ProblemFilter)
@Controller('mesh/queries')
export class QueriesController {
  constructor(
    private readonly registry: HandlerRegistry,
    private readonly queries: QueryBus,
  ) {}

  @Post(':query')
  @HttpCode(200)
  @Operation('Answers a query of another process')
  async answer(@Param('query') name: string, @Body() body: unknown): Promise<object> {
    const query = this.registry.query(name);
    if (!query) throw new NotFound(`No module here answers ${name}`, 'query');
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
