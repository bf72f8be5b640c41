import { Module } from '@nestjs/common';
import { MeshFeature } from '../../infrastructure/contracts/mesh-feature.js';
import { CalculateFeeHandler } from './calculate-fee.js';
import { ChangeDriverHandler } from './change-driver.js';
import * as contract from './contract.js';
import { FreeDriverHandler } from './free-driver.js';
import { OccupyDriverHandler } from './occupy-driver.js';
import { DriversController } from './drivers.controller.js';
import { ReadDriverHandler } from './read-driver.js';
import { ReadOccupiedDriversHandler } from './read-occupied-drivers.js';
import { ReadSettledTransitsHandler } from './read-settled-transits.js';
import { RegisterDriverHandler } from './register-driver.js';
import { OccupancyRetention } from './retain-occupancies.js';
import { DriversSeed } from './seed.js';
import { Driver, Occupancy, TransitFee } from './tables.js';

@MeshFeature({ name: 'drivers', contract, entities: [Driver, Occupancy, TransitFee] })
@Module({
  controllers: [DriversController],
  providers: [
    RegisterDriverHandler,
    ChangeDriverHandler,
    ReadDriverHandler,
    ReadSettledTransitsHandler,
    ReadOccupiedDriversHandler,
    CalculateFeeHandler,
    OccupyDriverHandler,
    FreeDriverHandler,
    OccupancyRetention,
    DriversSeed,
  ],
})
export class DriversModule {}
