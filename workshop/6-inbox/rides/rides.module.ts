import { Module } from '@nestjs/common';
import { CompleteTransitHandler } from './complete-transit.js';
import { RidesController } from './rides.controller.js';
import { SettleTransit } from './settle-transit.js';

@Module({ controllers: [RidesController], providers: [CompleteTransitHandler, SettleTransit] })
export class RidesModule {}
