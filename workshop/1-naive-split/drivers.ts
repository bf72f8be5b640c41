import { Body, Controller, Get, HttpCode, Module, Param, Post } from '@nestjs/common';
import { DriverService } from '../0-legacy/driver.service.js';
import { Driver } from '../0-legacy/tables.js';
import { DatabaseModule, Transactions } from '../shared/transactions.js';

@Controller()
class DriversController {
  constructor(
    private readonly transactions: Transactions,
    private readonly drivers: DriverService,
  ) {}

  @Get('drivers/:id')
  read(@Param('id') id: string): Promise<Driver> {
    return this.drivers.get(Number(id));
  }

  @Post('operations/find-driver')
  @HttpCode(200)
  find(@Body() { driverId }: { driverId: number }): Promise<Driver> {
    return this.drivers.get(driverId);
  }

  @Post('operations/calculate-fee')
  @HttpCode(200)
  async calculateFee(@Body() { driverId, transitPrice }: { driverId: number; transitPrice: number }) {
    return { fee: this.drivers.calculateFee(await this.drivers.get(driverId), transitPrice) };
  }

  @Post('operations/free-driver')
  @HttpCode(200)
  async free(@Body() { driverId }: { driverId: number }): Promise<void> {
    await this.transactions.run(() => this.drivers.markNotOccupied(driverId));
  }
}

@Module({ imports: [DatabaseModule.with(Driver)], controllers: [DriversController], providers: [DriverService] })
export class DriversModule {}
