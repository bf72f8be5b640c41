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
    const rows = commands.map(({ subject: transitId, data: { amount, subjectName } }) => {
      return { id: uuidv7(), transitId, amount, subjectName, issuedAt };
    });
    const invoices = await insertOnce(this.work.repository(Invoice), rows, ['transitId']);
    for (const [index, command] of commands.entries()) {
      const { id: invoiceId, amount } = invoices[index]!;
      causedBy(command, () => void this.events.publish(new InvoiceIssued(command.subject, { invoiceId, amount })));
    }
  }
}
