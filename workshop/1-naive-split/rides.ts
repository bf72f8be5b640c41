import { Body, Controller, Get, HttpCode, Module, Param, Post } from '@nestjs/common';
import { InjectRepository, TypeOrmModule } from '@nestjs/typeorm';
import { DataSource, Repository } from 'typeorm';
import { Conflict, NotFound } from '../../src/infrastructure/contracts/domain-errors.js';
import type { Address } from '../../src/modules/geolocation/contract.js';
import { distanceMetres, type Coordinates } from '../../src/modules/geolocation/distance.js';
import { priceCents } from '../../src/modules/rides/tariff.js';
import { Journey, Transit } from '../0-legacy/tables.js';
import { TransitAnalyzer } from '../0-legacy/transit.analyzer.js';
import { sqliteOptions } from '../shared/sqlite.js';
import { TransactionQueue } from '../shared/transaction-queue.js';

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
    private readonly dataSource: DataSource,
    private readonly queue: TransactionQueue,
    @InjectRepository(Transit) private readonly transits: Repository<Transit>,
    private readonly analyzer: TransitAnalyzer,
  ) {}

  @Get('transits/:id')
  find(@Param('id') id: string): Promise<Transit> {
    return this.findWith(this.transits, id);
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
    return this.queue.run(() =>
      this.dataSource.transaction(async (manager) => {
        const transit = await this.findWith(manager.getRepository(Transit), id);
        return manager.save(Object.assign(transit, changes(transit)));
      }),
    );
  }

  /** @throws NotFound */
  private async findWith(transits: Repository<Transit>, id: string): Promise<Transit> {
    const transit = await transits.findOneBy({ id });
    if (!transit) throw new NotFound(`There is no transit ${id}`, 'id');
    return transit;
  }
}

@Module({
  imports: [
    TypeOrmModule.forRoot({ ...sqliteOptions(), autoLoadEntities: true }),
    TypeOrmModule.forFeature([Transit, Journey]),
  ],
  controllers: [RidesController],
  providers: [TransactionQueue, TransitAnalyzer],
})
export class RidesModule {}
