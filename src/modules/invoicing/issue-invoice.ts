import { CommandHandler, EventBus } from '@nestjs/cqrs';
import { v7 as uuidv7 } from 'uuid';
import type { CausedBy, DurableCommandBatchHandler } from '../../infrastructure/contracts/batch-handler.js';
import { Clock } from '../../infrastructure/observability/clock.js';
import { insertOnce } from '../../infrastructure/persistence/insert-once.js';
import { UnitOfWork } from '../../infrastructure/persistence/unit-of-work.js';
import { InvoiceIssued, IssueInvoice } from './contract.js';
import { Invoice } from './tables.js';

@CommandHandler(IssueInvoice)
export class IssueInvoiceHandler implements DurableCommandBatchHandler<IssueInvoice> {
  constructor(
    private readonly work: UnitOfWork,
    private readonly events: EventBus,
    private readonly clock: Clock,
  ) {}

  async executeMany(commands: readonly IssueInvoice[], causedBy: CausedBy<IssueInvoice>): Promise<void> {
    const issuedAt = this.clock.now().toISOString();
    const rows = new Map(
      commands.map(({ subject: transitId, data: { amount, subjectName } }) => [
        transitId,
        { id: uuidv7(), transitId, amount, subjectName, issuedAt },
      ]),
    );
    const issued = await insertOnce(this.work.repository(Invoice), [...rows.values()], ['transitId']);
    const invoices = new Map(issued.map((invoice) => [invoice.transitId, invoice]));
    for (const command of commands) {
      const { id: invoiceId, amount } = invoices.get(command.subject)!;
      causedBy(command, () => void this.events.publish(new InvoiceIssued(command.subject, { invoiceId, amount })));
    }
  }
}
