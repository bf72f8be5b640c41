import { Body, Controller, Get, HttpCode, Module, Param, Post } from '@nestjs/common';
import { Conflict, NotFound } from '../../src/infrastructure/contracts/domain-errors.js';
import type { Address } from '../../src/modules/geolocation/contract.js';
import { distanceMetres, type Coordinates } from '../../src/modules/geolocation/distance.js';
import { priceCents } from '../../src/modules/rides/tariff.js';
import { Journey, Transit } from '../0-legacy/tables.js';
import { TransitAnalyzer } from '../0-legacy/transit.analyzer.js';
import { TransitRepository } from '../0-legacy/transit.repository.js';
import { DatabaseModule, Transactions } from '../shared/transactions.js';

interface Ends {
  readonly transitId: string;
  readonly from?: Coordinates;
  readonly to?: Coordinates;
  readonly destinationId: string;
  readonly destination: Address;
}

@Controller()
class RidesController {
  constructor(
    private readonly transactions: Transactions,
    private readonly transits: TransitRepository,
    private readonly analyzer: TransitAnalyzer,
  ) {}

  @Get('transits/:id')
  async find(@Param('id') id: string): Promise<Transit> {
    const transit = await this.transits.find(id);
    if (!transit) throw new NotFound(`There is no transit ${id}`, 'id');
    return transit;
  }

  @Post('operations/find-transit')
  @HttpCode(200)
  findTransit(@Body() { transitId }: { transitId: string }): Promise<Transit> {
    return this.find(transitId);
  }

  @Post('operations/complete-transit')
  @HttpCode(200)
  complete(@Body() { transitId, from, to, ...ends }: Ends) {
    return this.change(transitId, (transit) => {
      if (transit.status !== 'IN_TRANSIT') throw new Conflict(`Transit ${transitId} is ${transit.status}`);
      const metres = distanceMetres(from, to);
      const price = priceCents(metres, transit.tariff);
      return { ...ends, status: 'COMPLETED', distanceMetres: metres, price };
    });
  }

  @Post('operations/update-details')
  @HttpCode(200)
  updateDetails(@Body() { transitId, driverFee }: { transitId: string; driverFee: number }) {
    return this.change(transitId, () => ({ driverFee, completedAt: new Date().toISOString() }));
  }

  @Post('operations/transit-completed')
  @HttpCode(200)
  async transitCompleted(@Body() { transitId }: { transitId: string }): Promise<void> {
    await this.analyzer.transitCompleted(await this.find(transitId));
  }

  private change(id: string, changes: (transit: Transit) => Partial<Transit>): Promise<Transit> {
    return this.transactions.run(async () => {
      const transit = await this.find(id);
      await this.transits.save(Object.assign(transit, changes(transit)));
      return transit;
    });
  }
}

@Module({
  imports: [DatabaseModule.with(Transit, Journey)],
  controllers: [RidesController],
  providers: [TransitRepository, TransitAnalyzer],
})
export class RidesModule {}
