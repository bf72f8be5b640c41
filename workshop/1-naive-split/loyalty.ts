import { Body, Controller, Get, HttpCode, Module, Param, Post } from '@nestjs/common';
import { AwardsService } from '../0-legacy/awards.service.js';
import { AwardedMiles, AwardsAccount } from '../0-legacy/tables.js';
import { DatabaseModule, Transactions } from '../shared/transactions.js';

@Controller()
class LoyaltyController {
  constructor(
    private readonly transactions: Transactions,
    private readonly awards: AwardsService,
  ) {}

  @Get('clients/:id/awards')
  read(@Param('id') id: string) {
    return this.awards.read(Number(id));
  }

  @Post('operations/register-miles')
  @HttpCode(200)
  async register(@Body() { clientId, transitId }: { clientId: number; transitId: string }): Promise<void> {
    await this.transactions.run(() => this.awards.registerMiles(clientId, transitId));
  }
}

@Module({
  imports: [DatabaseModule.with(AwardsAccount, AwardedMiles)],
  controllers: [LoyaltyController],
  providers: [AwardsService],
})
export class LoyaltyModule {}
