import { z } from 'zod';
import { durableCommand, durableEvent, query } from '../../infrastructure/contracts/message.js';
import { cents, moment, writtenText } from '../../infrastructure/contracts/schemas.js';

/** Write an invoice for a transit (the subject), once. `amount` is in cents, `subjectName` is the client's full name. */
export class IssueInvoice extends durableCommand(
  'cabs.invoicing.issue-invoice',
  z.object({ amount: cents, subjectName: writtenText(500) }),
  { sentBy: ['rides'] },
) {}

export class InvoiceIssued extends durableEvent(
  'cabs.invoicing.invoice-issued',
  z.object({ invoiceId: z.uuid(), amount: cents }),
) {}

export const invoice = z.object({
  id: z.uuid(),
  transitId: z.uuid(),
  amount: z.int().describe('cents'),
  subjectName: z.string(),
  issuedAt: moment,
});

/** The ids among these transits that have an invoice. */
export class ReadInvoicedTransits extends query(
  'read-invoiced-transits',
  z.object({ transitIds: z.array(z.guid()).max(100) }),
  z.array(z.guid()),
  { askedBy: ['rides'] },
) {}

export class ReadInvoices extends query('read-invoices', z.object({ transitId: z.guid() }), z.array(invoice)) {}
