import { Module } from '@nestjs/common';
import { UpdateDestinationHandler } from './update-destination.js';

@Module({ providers: [UpdateDestinationHandler] })
export class GeolocationModule {}
