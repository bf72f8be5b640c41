import { Module } from '@nestjs/common';
import { MeshFeature } from '../../infrastructure/contracts/mesh-feature.js';
import { OpenAccountHandler, SetAccountActiveHandler } from './change-account.js';
import * as contract from './contract.js';
import { LoyaltyController } from './loyalty.controller.js';
import { ReadAwardsHandler, ReadTransitMilesHandler } from './read-awards.js';
import { RegisterMilesHandler } from './register-miles.js';
import { LoyaltySeed } from './seed.js';
import { AwardedMiles, AwardsAccount } from './tables.js';

@MeshFeature({ name: 'loyalty', contract, entities: [AwardsAccount, AwardedMiles] })
@Module({
  controllers: [LoyaltyController],
  providers: [
    OpenAccountHandler,
    SetAccountActiveHandler,
    ReadAwardsHandler,
    ReadTransitMilesHandler,
    RegisterMilesHandler,
    LoyaltySeed,
  ],
})
export class LoyaltyModule {}
