import { Module } from '@nestjs/common';
import { MeshFeature } from '../../../src/infrastructure/contracts/mesh-feature.js';
import * as contract from '../../../src/modules/loyalty/contract.js';
import { LoyaltyController } from './loyalty.controller.js';
import { ReadAwardsHandler, ReadTransitMilesHandler } from './read-awards.js';
import { RegisterMilesHandler } from './register-miles.js';
import { AwardedMiles, AwardsAccount } from './tables.js';

@MeshFeature({ name: 'loyalty', contract, entities: [AwardsAccount, AwardedMiles] })
@Module({
  controllers: [LoyaltyController],
  providers: [RegisterMilesHandler, ReadAwardsHandler, ReadTransitMilesHandler],
})
export class LoyaltyModule {}
