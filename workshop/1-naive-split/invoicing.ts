import { Body, Controller, Get, HttpCode, Module, Post, Query } from '@nestjs/common';
import { InvoiceGenerator } from '../0-legacy/invoice.generator.js';
import { Invoice } from '../0-legacy/tables.js';
import { Accounting } from '../shared/accounting.js';
import { DatabaseModule, Transactions } from '../shared/transactions.js';

interface Order {
  readonly transitId: string;
  readonly amount: number;
  readonly subjectName: string;
}

@Controller()
class InvoicingController {
  constructor(
    private readonly transactions: Transactions,
    private readonly invoices: InvoiceGenerator,
  ) {}

  @Get('invoices')
  list(@Query('transitId') transitId: string) {
    return this.transactions.manager.findBy(Invoice, { transitId });
  }

  @Post('operations/generate-invoice')
  @HttpCode(200)
  async generate(@Body() { transitId, amount, subjectName }: Order): Promise<void> {
    await this.transactions.run(() => this.invoices.generate(transitId, amount, subjectName));
  }
}

@Module({
  imports: [DatabaseModule.with(Invoice)],
  controllers: [InvoicingController],
  providers: [InvoiceGenerator, Accounting],
})
export class InvoicingModule {}
