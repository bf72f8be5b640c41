import { CommandHandler, type ICommandHandler } from '@nestjs/cqrs';
import { v7 as uuidv7 } from 'uuid';
import { Accounting } from '../../shared/accounting.js';
import { Transactions } from '../../shared/transactions.js';
import { isNew } from '../inbox.js';
import { IssueInvoice } from './contract.js';
import { Invoice } from './tables.js';

@CommandHandler(IssueInvoice)
export class IssueInvoiceHandler implements ICommandHandler<IssueInvoice> {
  constructor(
    private readonly transactions: Transactions,
    private readonly accounting: Accounting,
  ) {}

  async execute({ data: { transitId, amount, subjectName } }: IssueInvoice): Promise<void> {
    await this.accounting.report({ transitId, amount });
    const invoice = { id: uuidv7(), transitId, amount, subjectName, issuedAt: new Date().toISOString() };
    await this.transactions.run(async (manager) => {
      if (await isNew(manager, 'invoicing')) await manager.insert(Invoice, invoice);
    });
  }
}
