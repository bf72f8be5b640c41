import { Module } from '@nestjs/common';
import { LoyaltyController } from './loyalty.controller.js';
import { RegisterMilesHandler } from './register-miles.js';

@Module({ controllers: [LoyaltyController], providers: [RegisterMilesHandler] })
export class LoyaltyModule {}
