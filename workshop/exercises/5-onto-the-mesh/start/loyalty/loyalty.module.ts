import { Module } from '@nestjs/common';
import { DatabaseModule } from '../../shared/transactions.js';
import { LoyaltyController } from './loyalty.controller.js';
import { RegisterMilesHandler } from './register-miles.js';
import { AwardedMiles, AwardsAccount } from './tables.js';

@Module({
  imports: [DatabaseModule.with(AwardsAccount, AwardedMiles)],
  controllers: [LoyaltyController],
  providers: [RegisterMilesHandler],
})
export class LoyaltyModule {}
