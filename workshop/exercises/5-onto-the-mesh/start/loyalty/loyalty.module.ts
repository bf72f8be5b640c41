import { Module } from '@nestjs/common';
import { TypeOrmModule } from '@nestjs/typeorm';
import { sqliteOptions } from '../../shared/sqlite.js';
import { TransactionsModule } from '../../shared/transactions.js';
import { LoyaltyController } from './loyalty.controller.js';
import { RegisterMilesHandler } from './register-miles.js';
import { AwardedMiles, AwardsAccount } from './tables.js';

@Module({
  imports: [TypeOrmModule.forRoot({ ...sqliteOptions(), entities: [AwardsAccount, AwardedMiles] }), TransactionsModule],
  controllers: [LoyaltyController],
  providers: [RegisterMilesHandler],
})
export class LoyaltyModule {}
