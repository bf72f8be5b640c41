import { Module } from '@nestjs/common';
import { Accounting } from '../shared/accounting.js';
import { DatabaseModule } from '../shared/transactions.js';
import { AddressRepository } from './address.repository.js';
import { AwardsService } from './awards.service.js';
import { DriverService } from './driver.service.js';
import { InvoiceGenerator } from './invoice.generator.js';
import { LookupsController } from './lookups.controller.js';
import { Address, AwardedMiles, AwardsAccount, Driver, Invoice, Journey, Transit } from './tables.js';
import { TransitAnalyzer } from './transit.analyzer.js';
import { TransitController } from './transit.controller.js';
import { TransitRepository } from './transit.repository.js';
import { TransitService } from './transit.service.js';

@Module({
  imports: [DatabaseModule.with(Address, Transit, Journey, Driver, AwardsAccount, AwardedMiles, Invoice)],
  controllers: [TransitController, LookupsController],
  providers: [
    ...[TransitService, TransitRepository, TransitAnalyzer],
    ...[AddressRepository, DriverService, AwardsService, InvoiceGenerator, Accounting],
  ],
})
export class AppModule {}
