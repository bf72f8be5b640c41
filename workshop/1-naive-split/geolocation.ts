import { Body, Controller, HttpCode, Module, Post } from '@nestjs/common';
import type { Address as Place } from '../../src/modules/geolocation/contract.js';
import { AddressRepository } from '../0-legacy/address.repository.js';
import { Address } from '../0-legacy/tables.js';
import { DatabaseModule, Transactions } from '../shared/transactions.js';

@Controller('operations')
class GeolocationController {
  constructor(
    private readonly transactions: Transactions,
    private readonly addresses: AddressRepository,
  ) {}

  @Post('save-address')
  @HttpCode(200)
  async save(@Body() address: Place) {
    return { id: await this.transactions.run(() => this.addresses.save(address)) };
  }

  @Post('locate-address')
  @HttpCode(200)
  async locate(@Body() { id }: { id: string }) {
    return { at: await this.addresses.locate(id) };
  }
}

@Module({
  imports: [DatabaseModule.with(Address)],
  controllers: [GeolocationController],
  providers: [AddressRepository],
})
export class GeolocationModule {}
