import { Body, Controller, HttpCode, Module, Post } from '@nestjs/common';
import { TypeOrmModule } from '@nestjs/typeorm';
import { DataSource } from 'typeorm';
import type { Address as PostalAddress } from '../../src/modules/geolocation/contract.js';
import { AddressRepository } from '../0-legacy/address.repository.js';
import { Address } from '../0-legacy/tables.js';
import { sqliteOptions } from '../shared/sqlite.js';
import { TransactionQueue } from '../shared/transaction-queue.js';

@Controller('operations')
class GeolocationController {
  constructor(
    private readonly dataSource: DataSource,
    private readonly queue: TransactionQueue,
    private readonly addresses: AddressRepository,
  ) {}

  @Post('save-address')
  @HttpCode(200)
  async save(@Body() address: PostalAddress) {
    const save = () => this.dataSource.transaction((manager) => this.addresses.save(address, manager));
    return { id: await this.queue.run(save) };
  }

  @Post('locate-address')
  @HttpCode(200)
  async locate(@Body() { id }: { id: string }) {
    return { at: await this.addresses.locate(id) };
  }
}

@Module({
  imports: [TypeOrmModule.forRoot({ ...sqliteOptions(), autoLoadEntities: true }), TypeOrmModule.forFeature([Address])],
  controllers: [GeolocationController],
  providers: [TransactionQueue, AddressRepository],
})
export class GeolocationModule {}
