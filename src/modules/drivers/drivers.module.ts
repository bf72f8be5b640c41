import { Module } from '@nestjs/common';
import { OnMesh } from '../../infrastructure/contracts/mesh-feature.js';
import { CalculateFeeHandler } from './calculate-fee.js';
import { ChangeDriverHandler } from './change-driver.js';
import * as contract from './contract.js';
import { DriverFreeHandler } from './driver-free.js';
import { DriverOccupyHandler } from './driver-occupy.js';
import { DriversController } from './drivers.controller.js';
import { ReadDriverHandler } from './read-driver.js';
import { ReadSettledTransitsHandler } from './read-settled-transits.js';
import { RegisterDriverHandler } from './register-driver.js';
import { DriversSeed } from './seed.js';
import { Driver, migrations, Occupancy, TransitFee } from './tables.js';

@OnMesh({ name: 'drivers', contract, entities: [Driver, Occupancy, TransitFee], migrations })
@Module({
  controllers: [DriversController],
  providers: [
    RegisterDriverHandler,
    ChangeDriverHandler,
    ReadDriverHandler,
    ReadSettledTransitsHandler,
    CalculateFeeHandler,
    DriverOccupyHandler,
    DriverFreeHandler,
    DriversSeed,
  ],
})
export class DriversModule {}
