import { Module } from '@nestjs/common';
import { MeshFeature } from '../../infrastructure/contracts/mesh-feature.js';
import { AcceptTransitHandler } from './accept-transit.js';
import { AssignDriverOnDriverOccupied, WaitOnDriverRefused } from './assign-driver.js';
import { CancelTransitHandler } from './cancel-transit.js';
import { ChangeDestinationHandler } from './change-destination.js';
import { CompleteTransitHandler, CompleteTransitOnDestinationUpdated, Completion } from './complete-transit.js';
import * as contract from './contract.js';
import { HeldEffects } from './held-effects.js';
import { PublishTransitHandler } from './publish-transit.js';
import { ListTransitsHandler, ReadTransitHandler } from './read-transit.js';
import { ReconcileTransits } from './reconcile-transits.js';
import { RejectTransitHandler } from './reject-transit.js';
import { RequestCompletionHandler } from './request-completion.js';
import { RequestTransitHandler } from './request-transit.js';
import { TransitNotifier } from './transit-notifier.js';
import { RidesController } from './rides.controller.js';
import { Transits } from './transits.store.js';
import {
  FailOnDriverFeeRefused,
  SettleOnDriverFeeCalculated,
  SettleOnDriverFreed,
  SettleOnInvoiceIssued,
  SettleOnMilesRegistered,
} from './settle-transit.js';
import { StartTransitHandler } from './start-transit.js';
import { RidesSeed } from './seed.js';
import { Rejection, Transit } from './tables.js';

@MeshFeature({ name: 'rides', contract, entities: [Transit, Rejection] })
@Module({
  controllers: [RidesController],
  providers: [
    Transits,
    TransitNotifier,
    Completion,
    HeldEffects,
    ReconcileTransits,
    RidesSeed,
    RequestTransitHandler,
    PublishTransitHandler,
    AcceptTransitHandler,
    RejectTransitHandler,
    StartTransitHandler,
    CancelTransitHandler,
    ChangeDestinationHandler,
    RequestCompletionHandler,
    CompleteTransitHandler,
    AssignDriverOnDriverOccupied,
    WaitOnDriverRefused,
    CompleteTransitOnDestinationUpdated,
    SettleOnDriverFeeCalculated,
    FailOnDriverFeeRefused,
    SettleOnDriverFreed,
    SettleOnMilesRegistered,
    SettleOnInvoiceIssued,
    ReadTransitHandler,
    ListTransitsHandler,
  ],
})
export class RidesModule {}
