import { Command } from '@nestjs/cqrs';

/** Write an invoice for a transit. Cents. */
export class IssueInvoice extends Command<void> {
  constructor(readonly data: { readonly transitId: string; readonly amount: number; readonly subjectName: string }) {
    super();
  }
}
