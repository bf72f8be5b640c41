import { Injectable } from '@nestjs/common';
import { v7 as uuidv7 } from 'uuid';
import { Accounting } from '../shared/accounting.js';
import { Transactions } from '../shared/transactions.js';
import { Invoice } from './tables.js';

@Injectable()
export class InvoiceGenerator {
  constructor(
    private readonly transactions: Transactions,
    private readonly accounting: Accounting,
  ) {}

  /** @param amount cents */
  async generate(transitId: string, amount: number, subjectName: string): Promise<void> {
    await this.accounting.report({ transitId, amount });
    const invoice = { id: uuidv7(), transitId, amount, subjectName, issuedAt: new Date().toISOString() };
    await this.transactions.manager.insert(Invoice, invoice);
  }
}
