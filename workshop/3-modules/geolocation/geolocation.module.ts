import { Module } from '@nestjs/common';
import { MeasureRouteHandler } from './measure-route.js';
import { SaveAddressHandler } from './save-address.js';

@Module({ providers: [SaveAddressHandler, MeasureRouteHandler] })
export class GeolocationModule {}
