import { Body, Controller, Get, HttpCode, Param, Post, Put } from '@nestjs/common';
import { CommandBus, QueryBus } from '@nestjs/cqrs';
import type { z } from 'zod';
import { NotFound } from '../../infrastructure/contracts/domain-errors.js';
import { Location } from '../../infrastructure/http/location.js';
import { Idempotent } from '../../infrastructure/http/idempotency.js';
import { Operation } from '../../infrastructure/http/openapi.js';
import { idParameter } from '../../infrastructure/contracts/schemas.js';
import { ChangeDriver } from './change-driver.js';
import { driver, fee, ReadDriver } from './contract.js';
import { newDriver, RegisterDriver } from './register-driver.js';

type Id = z.infer<typeof idParameter>;

@Controller('drivers')
export class DriversController {
  constructor(
    private readonly commands: CommandBus,
    private readonly queries: QueryBus,
  ) {}

  @Post()
  @Idempotent()
  @Location('/drivers/:id')
  @Operation('Registers a driver, who must be activated before they can drive', {
    status: 201,
    body: driver,
    also: [400, 422],
  })
  register(@Body({ schema: newDriver }) body: z.infer<typeof newDriver>) {
    return this.commands.execute(new RegisterDriver(body));
  }

  @Get(':id')
  @Operation('A driver, and whether they are occupied', { body: driver, also: [404] })
  async read(@Param({ schema: idParameter }) { id }: Id) {
    const found = await this.queries.execute(new ReadDriver({ driverId: id }));
    if (!found) throw new NotFound(`There is no driver ${id}`, 'id');
    return found;
  }

  @Post(':id/activate')
  @HttpCode(200)
  @Operation('Activates a driver whose licence is valid', { body: driver, also: [404, 422] })
  activate(@Param({ schema: idParameter }) { id }: Id) {
    return this.commands.execute(new ChangeDriver(id, { status: 'ACTIVE' }));
  }

  @Post(':id/deactivate')
  @HttpCode(200)
  @Operation('Deactivates a driver: they get no more rides', { body: driver, also: [404] })
  deactivate(@Param({ schema: idParameter }) { id }: Id) {
    return this.commands.execute(new ChangeDriver(id, { status: 'INACTIVE' }));
  }

  @Put(':id/fee')
  @Operation('Agrees on what the company keeps', { body: driver, also: [400, 404, 422] })
  changeFee(@Param({ schema: idParameter }) { id }: Id, @Body({ schema: fee }) body: z.infer<typeof fee>) {
    return this.commands.execute(new ChangeDriver(id, { fee: body }));
  }
}
