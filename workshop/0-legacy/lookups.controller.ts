import { Controller, Get, Param, Query } from '@nestjs/common';
import { InjectRepository } from '@nestjs/typeorm';
import { Repository } from 'typeorm';
import { z } from 'zod';
import { idParameter } from '../../src/infrastructure/contracts/schemas.js';
import { AwardsService } from './awards.service.js';
import { DriverService } from './driver.service.js';
import { Invoice } from './tables.js';

type Id = z.infer<typeof idParameter>;
const ofTransit = z.object({ transitId: z.guid().toLowerCase() });

/** Shows the effects of a completed ride. */
@Controller()
export class LookupsController {
  constructor(
    @InjectRepository(Invoice) private readonly invoiceRepository: Repository<Invoice>,
    private readonly drivers: DriverService,
    private readonly awardsService: AwardsService,
  ) {}

  @Get('drivers/:id')
  driver(@Param({ schema: idParameter }) { id }: Id) {
    return this.drivers.get(id);
  }

  @Get('clients/:id/awards')
  awards(@Param({ schema: idParameter }) { id: clientId }: Id) {
    return this.awardsService.read(clientId);
  }

  @Get('invoices')
  invoices(@Query({ schema: ofTransit }) { transitId }: z.infer<typeof ofTransit>) {
    return this.invoiceRepository.findBy({ transitId });
  }
}
