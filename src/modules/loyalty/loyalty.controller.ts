import { Controller, Get, HttpCode, Param, Post } from '@nestjs/common';
import { CommandBus, QueryBus } from '@nestjs/cqrs';
import type { z } from 'zod';
import { NotFound } from '../../infrastructure/contracts/domain-errors.js';
import { Operation } from '../../infrastructure/http/openapi.js';
import { idParameter } from '../../infrastructure/contracts/schemas.js';
import { OpenAccount, SetAccountActive } from './change-account.js';
import { awards, ReadAwards } from './contract.js';

type Id = z.infer<typeof idParameter>;

@Controller('clients/:id/awards')
export class LoyaltyController {
  constructor(
    private readonly commands: CommandBus,
    private readonly queries: QueryBus,
  ) {}

  @Post()
  @Operation("Opens a client's awards account, which is inactive at first", { status: 201, body: awards, also: [404] })
  open(@Param({ schema: idParameter }) { id }: Id) {
    return this.commands.execute(new OpenAccount(id));
  }

  @Post('activate')
  @HttpCode(200)
  @Operation('Activates the account: rides earn miles from now on', { body: awards, also: [404] })
  activate(@Param({ schema: idParameter }) { id }: Id) {
    return this.commands.execute(new SetAccountActive(id, true));
  }

  @Post('deactivate')
  @HttpCode(200)
  @Operation('Deactivates the account: rides no longer earn miles', { body: awards, also: [404] })
  deactivate(@Param({ schema: idParameter }) { id }: Id) {
    return this.commands.execute(new SetAccountActive(id, false));
  }

  @Get()
  @Operation("A client's awards account and its balance", { body: awards, also: [404] })
  async read(@Param({ schema: idParameter }) { id }: Id) {
    const account = await this.queries.execute(new ReadAwards({ clientId: id }));
    if (!account) throw new NotFound(`Client ${id} has no awards account: open one first`, 'id');
    return account;
  }
}
