import { Body, Controller, Get, Param, Post } from '@nestjs/common';
import { CommandBus, QueryBus } from '@nestjs/cqrs';
import type { z } from 'zod';
import { NotFound } from '../../infrastructure/contracts/domain-errors.js';
import { Location } from '../../infrastructure/http/location.js';
import { Idempotent } from '../../infrastructure/http/idempotency.js';
import { Operation } from '../../infrastructure/http/openapi.js';
import { idParameter } from '../../infrastructure/contracts/schemas.js';
import { client, ReadClient } from './contract.js';
import { newClient, RegisterClient } from './register-client.js';

@Controller('clients')
export class ClientsController {
  constructor(
    private readonly commands: CommandBus,
    private readonly queries: QueryBus,
  ) {}

  @Post()
  @Idempotent()
  @Location('/clients/:id')
  @Operation('Registers a client', { status: 201, body: client, also: [400] })
  register(@Body({ schema: newClient }) body: z.infer<typeof newClient>) {
    return this.commands.execute(new RegisterClient(body));
  }

  @Get(':id')
  @Operation('A client', { body: client, also: [404] })
  async read(@Param({ schema: idParameter }) { id }: z.infer<typeof idParameter>) {
    const found = await this.queries.execute(new ReadClient({ clientId: id }));
    if (!found) throw new NotFound(`There is no client ${id}`, 'id');
    return found;
  }
}
