import { CommandHandler, EventBus } from '@nestjs/cqrs';
import { v7 as uuidv7 } from 'uuid';
import { Clock } from '../../infrastructure/observability/clock.js';
import type { DurableCommandHandler } from '../../infrastructure/contracts/message.js';
import { UnitOfWork } from '../../infrastructure/persistence/unit-of-work.js';
import { InvoiceIssued, IssueInvoice } from './contract.js';
import { Invoice } from './tables.js';

@CommandHandler(IssueInvoice)
export class IssueInvoiceHandler implements DurableCommandHandler<IssueInvoice> {
  constructor(
    private readonly work: UnitOfWork,
    private readonly events: EventBus,
    private readonly clock: Clock,
  ) {}

  async execute({ subject: transitId, data: { amount, subjectName } }: IssueInvoice): Promise<void> {
    const invoices = this.work.repository(Invoice);
    const row = { id: uuidv7(), transitId, amount, subjectName, issuedAt: this.clock.now().toISOString() };
    await invoices.createQueryBuilder().insert().values(row).orIgnore().execute();
    const invoice = await invoices.findOneByOrFail({ transitId });
    this.events.publish(new InvoiceIssued(transitId, { invoiceId: invoice.id, amount: invoice.amount }));
  }
}
