import { Body, Controller, Get, HttpCode, Module, Param, Post, Query } from '@nestjs/common';
import { z } from 'zod';
import { idParameter, uuidParameter } from '../../src/infrastructure/contracts/schemas.js';
import { address } from '../../src/modules/geolocation/contract.js';
import type { Transit } from '../0-legacy/tables.js';
import { transitView } from '../0-legacy/transit.controller.js';
import { TransitService } from './complete-transit.js';
import { Remote } from './remote.js';

type Id = z.infer<typeof uuidParameter>;
const ofTransit = z.object({ transitId: z.guid().toLowerCase() });

/** The API that users know, at one address. */
@Controller()
export class CabsController {
  constructor(
    private readonly service: TransitService,
    private readonly remote: Remote,
  ) {}

  @Post('transits/:id/complete')
  @HttpCode(200)
  async complete(
    @Param({ schema: uuidParameter }) { id }: Id,
    @Body({ schema: address }) reached: z.infer<typeof address>,
  ) {
    return transitView(await this.service.completeTransit(id, reached));
  }

  @Get('transits/:id')
  async read(@Param({ schema: uuidParameter }) { id }: Id) {
    return transitView(await this.remote.read<Transit>('rides', `/transits/${id}`));
  }

  @Get('drivers/:id')
  driver(@Param({ schema: idParameter }) { id }: z.infer<typeof idParameter>) {
    return this.remote.read('drivers', `/drivers/${id}`);
  }

  @Get('clients/:id/awards')
  awards(@Param({ schema: idParameter }) { id }: z.infer<typeof idParameter>) {
    return this.remote.read('loyalty', `/clients/${id}/awards`);
  }

  @Get('invoices')
  invoices(@Query({ schema: ofTransit }) { transitId }: z.infer<typeof ofTransit>) {
    return this.remote.read('invoicing', `/invoices?transitId=${transitId}`);
  }
}

@Module({ controllers: [CabsController], providers: [TransitService, Remote] })
export class CabsModule {}
