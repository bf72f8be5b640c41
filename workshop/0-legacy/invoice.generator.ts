import { Injectable } from '@nestjs/common';
import type { EntityManager } from 'typeorm';
import { v7 as uuidv7 } from 'uuid';
import { Accounting } from '../shared/accounting.js';
import { Invoice } from './tables.js';

@Injectable()
export class InvoiceGenerator {
  constructor(private readonly accounting: Accounting) {}

  /** @param amount cents */
  async generate(transitId: string, amount: number, subjectName: string, manager: EntityManager): Promise<void> {
    await this.accounting.report({ transitId, amount });
    const invoice = { id: uuidv7(), transitId, amount, subjectName, issuedAt: new Date().toISOString() };
    await manager.insert(Invoice, invoice);
  }
}
