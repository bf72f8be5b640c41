import { Module } from '@nestjs/common';
import { TypeOrmModule } from '@nestjs/typeorm';
import { Accounting } from '../shared/accounting.js';
import { sqliteOptions } from '../shared/sqlite.js';
import { TransactionQueue } from '../shared/transaction-queue.js';
import { AddressRepository } from './address.repository.js';
import { AwardsService } from './awards.service.js';
import { DriverService } from './driver.service.js';
import { InvoiceGenerator } from './invoice.generator.js';
import { LookupsController } from './lookups.controller.js';
import { Address, AwardedMiles, AwardsAccount, Driver, Invoice, Journey, Transit } from './tables.js';
import { TransitAnalyzer } from './transit.analyzer.js';
import { TransitController } from './transit.controller.js';
import { TransitService } from './transit.service.js';

@Module({
  imports: [
    TypeOrmModule.forRoot({ ...sqliteOptions(), autoLoadEntities: true }),
    TypeOrmModule.forFeature([Address, Transit, Journey, Driver, AwardsAccount, AwardedMiles, Invoice]),
  ],
  controllers: [TransitController, LookupsController],
  providers: [
    TransactionQueue,
    TransitService,
    TransitAnalyzer,
    AddressRepository,
    DriverService,
    AwardsService,
    InvoiceGenerator,
    Accounting,
  ],
})
export class AppModule {}
