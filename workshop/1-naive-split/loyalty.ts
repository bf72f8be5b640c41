import { Body, Controller, Get, HttpCode, Module, Param, Post } from '@nestjs/common';
import { TypeOrmModule } from '@nestjs/typeorm';
import { DataSource } from 'typeorm';
import { AwardsService } from '../0-legacy/awards.service.js';
import { AwardedMiles, AwardsAccount } from '../0-legacy/tables.js';
import { sqliteOptions } from '../shared/sqlite.js';
import { TransactionQueue } from '../shared/transaction-queue.js';

@Controller()
class LoyaltyController {
  constructor(
    private readonly dataSource: DataSource,
    private readonly queue: TransactionQueue,
    private readonly awards: AwardsService,
  ) {}

  @Get('clients/:id/awards')
  read(@Param('id') id: string) {
    return this.awards.read(Number(id));
  }

  @Post('operations/register-miles')
  @HttpCode(200)
  async register(@Body() { clientId, transitId }: { clientId: number; transitId: string }): Promise<void> {
    await this.queue.run(() =>
      this.dataSource.transaction((manager) => this.awards.registerMiles(clientId, transitId, manager)),
    );
  }
}

@Module({
  imports: [
    TypeOrmModule.forRoot({ ...sqliteOptions(), autoLoadEntities: true }),
    TypeOrmModule.forFeature([AwardsAccount, AwardedMiles]),
  ],
  controllers: [LoyaltyController],
  providers: [TransactionQueue, AwardsService],
})
export class LoyaltyModule {}
