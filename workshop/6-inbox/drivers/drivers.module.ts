import { Module } from '@nestjs/common';
import { CalculateFeeHandler } from './calculate-fee.js';
import { DriversController } from './drivers.controller.js';
import { FreeDriverHandler } from './free-driver.js';

@Module({ controllers: [DriversController], providers: [CalculateFeeHandler, FreeDriverHandler] })
export class DriversModule {}
