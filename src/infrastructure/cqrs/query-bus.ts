import { Inject, Injectable } from '@nestjs/common';
import { ModuleRef } from '@nestjs/core';
import { QueryBus, type IQuery } from '@nestjs/cqrs';
import { HandlerRegistry } from '../contracts/handler-registry.js';
import type { QueryClass } from '../contracts/message.js';
import type { ModuleBus } from '../contracts/module-buses.js';
import { Permissions } from '../contracts/permissions.js';
import { QUERY } from '../observability/telemetry.js';
import { requestContext } from '../observability/request-context.js';
import { UnitOfWork } from '../persistence/unit-of-work.js';
import { RemoteQueries } from './remote-queries.js';

/** Answers queries in this process, or over HTTP where another process hosts the module. */
@Injectable()
export class MeshQueryBus extends QueryBus implements ModuleBus<QueryBus> {
  /** The module that asks, for the bus of a module. */
  private readonly asker?: string;

  constructor(
    moduleRef: ModuleRef,
    @Inject(UnitOfWork) private readonly work: UnitOfWork,
    @Inject(HandlerRegistry) private readonly registry: HandlerRegistry,
    @Inject(Permissions) private readonly permissions: Permissions,
    @Inject(RemoteQueries) private readonly remote: RemoteQueries,
  ) {
    super(moduleRef);
  }

  of(module: string): QueryBus {
    return Object.create(this, { asker: { value: module } }) as MeshQueryBus;
  }

  /**
   * @throws Error when the contract doesn't let this module ask
   * @throws Error inside a unit of work for a query of a contract: a unit must not wait for another module, so that the code
   *   works in every deployment
   * @throws Unavailable when another process hosts the module and doesn't answer
   */
  override async execute<Q extends IQuery, Result = unknown>(query: Q): Promise<Result> {
    const declaration = query.constructor as unknown as QueryClass;
    const owner = this.registry.owner(declaration);
    if (declaration.kind === 'query' && this.work.open) {
      throw new Error(
        `${query.constructor.name} was executed inside a unit of work: execute it in prepare(), or before the unit`,
      );
    }
    const asker = this.asker ?? requestContext()?.module;
    if (owner !== undefined && asker !== undefined) this.permissions.assertAllows(declaration, asker);
    if (owner === undefined) return super.execute<Q, Result>(query);
    const isRemote = !this.registry.hosts(owner);
    const ask = (): Promise<Result> =>
      isRemote
        ? (this.remote.ask(owner, declaration, (query as unknown as { data: unknown }).data) as Promise<Result>)
        : super.execute<Q, Result>(query);
    return QUERY.run({ type: declaration.queryName, module: owner, isRemote }, ask);
  }
}
