import { Body, Controller, Get, HttpCode, Module, Post, Query } from '@nestjs/common';
import { InjectRepository, TypeOrmModule } from '@nestjs/typeorm';
import { DataSource, Repository } from 'typeorm';
import { InvoiceGenerator } from '../0-legacy/invoice.generator.js';
import { Invoice } from '../0-legacy/tables.js';
import { Accounting } from '../shared/accounting.js';
import { sqliteOptions } from '../shared/sqlite.js';
import { TransactionQueue } from '../shared/transaction-queue.js';

interface GenerateInvoice {
  readonly transitId: string;
  readonly amount: number;
  readonly subjectName: string;
}

@Controller()
class InvoicingController {
  constructor(
    private readonly dataSource: DataSource,
    private readonly queue: TransactionQueue,
    @InjectRepository(Invoice) private readonly invoices: Repository<Invoice>,
    private readonly generator: InvoiceGenerator,
  ) {}

  @Get('invoices')
  list(@Query('transitId') transitId: string): Promise<Invoice[]> {
    return this.invoices.findBy({ transitId });
  }

  @Post('operations/generate-invoice')
  @HttpCode(200)
  async generate(@Body() { transitId, amount, subjectName }: GenerateInvoice): Promise<void> {
    await this.queue.run(() =>
      this.dataSource.transaction((manager) => this.generator.generate(transitId, amount, subjectName, manager)),
    );
  }
}

@Module({
  imports: [TypeOrmModule.forRoot({ ...sqliteOptions(), autoLoadEntities: true }), TypeOrmModule.forFeature([Invoice])],
  controllers: [InvoicingController],
  providers: [TransactionQueue, InvoiceGenerator, Accounting],
})
export class InvoicingModule {}
