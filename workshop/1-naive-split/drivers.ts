import { Body, Controller, Get, HttpCode, Module, Param, Post } from '@nestjs/common';
import { TypeOrmModule } from '@nestjs/typeorm';
import { DataSource } from 'typeorm';
import { DriverService } from '../0-legacy/driver.service.js';
import { Driver } from '../0-legacy/tables.js';
import { sqliteOptions } from '../shared/sqlite.js';
import { TransactionQueue } from '../shared/transaction-queue.js';

@Controller()
class DriversController {
  constructor(
    private readonly dataSource: DataSource,
    private readonly queue: TransactionQueue,
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
    await this.queue.run(() =>
      this.dataSource.transaction((manager) => this.drivers.markNotOccupied(driverId, manager)),
    );
  }
}

@Module({
  imports: [TypeOrmModule.forRoot({ ...sqliteOptions(), autoLoadEntities: true }), TypeOrmModule.forFeature([Driver])],
  controllers: [DriversController],
  providers: [TransactionQueue, DriverService],
})
export class DriversModule {}
