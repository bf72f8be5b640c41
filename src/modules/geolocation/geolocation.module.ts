import { Module } from '@nestjs/common';
import { MeshFeature } from '../../infrastructure/contracts/mesh-feature.js';
import * as contract from './contract.js';
import { Geocoder, NoGeocoder } from './geocoder.js';
import { GeolocationController } from './geolocation.controller.js';
import { MeasureRouteHandler } from './measure-route.js';
import { ReadAddressHandler } from './read-address.js';
import { ReadStoredRoutesHandler } from './read-stored-routes.js';
import { RouteRetention } from './retain-routes.js';
import { GeolocationSeed } from './seed.js';
import { KeptAddress, Route } from './tables.js';
import { UpdateDestinationHandler } from './update-destination.js';

@MeshFeature({ name: 'geolocation', contract, entities: [KeptAddress, Route] })
@Module({
  controllers: [GeolocationController],
  providers: [
    { provide: Geocoder, useClass: NoGeocoder },
    UpdateDestinationHandler,
    MeasureRouteHandler,
    ReadAddressHandler,
    ReadStoredRoutesHandler,
    RouteRetention,
    GeolocationSeed,
  ],
})
export class GeolocationModule {}
