import { Module } from '@nestjs/common';
import { CompleteTransitHandler } from './complete-transit.js';
import { RecordJourneyOnTransitCompleted } from './record-journey.js';
import { RidesController } from './rides.controller.js';

@Module({ controllers: [RidesController], providers: [CompleteTransitHandler, RecordJourneyOnTransitCompleted] })
export class RidesModule {}
