import { Module } from '@nestjs/common';
import { CqrsModule } from '@nestjs/cqrs';
import { TypeOrmModule } from '@nestjs/typeorm';
import { sqliteOptions } from '../shared/sqlite.js';
import { TransactionsModule } from '../shared/transactions.js';
import { DriversModule } from './drivers/drivers.module.js';
import { Driver } from './drivers/tables.js';
import { GeolocationModule } from './geolocation/geolocation.module.js';
import { Address } from './geolocation/tables.js';
import { InvoicingModule } from './invoicing/invoicing.module.js';
import { Invoice } from './invoicing/tables.js';
import { LoyaltyModule } from './loyalty/loyalty.module.js';
import { AwardedMiles, AwardsAccount } from './loyalty/tables.js';
import { MessagesModule } from './messages.js';
import { RidesModule } from './rides/rides.module.js';
import { Journey, Transit } from './rides/tables.js';

const ENTITIES = [Transit, Journey, Address, Driver, AwardsAccount, AwardedMiles, Invoice];

@Module({
  imports: [
    CqrsModule.forRoot(),
    TypeOrmModule.forRoot({ ...sqliteOptions(), entities: ENTITIES }),
    TransactionsModule,
    MessagesModule,
    RidesModule,
    GeolocationModule,
    DriversModule,
    LoyaltyModule,
    InvoicingModule,
  ],
})
export class AppModule {}
