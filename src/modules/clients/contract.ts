import { z } from 'zod';
import { query } from '../../infrastructure/contracts/message.js';
import { recordId } from '../../infrastructure/contracts/schemas.js';

export const client = z.object({
  id: recordId,
  name: z.string(),
  lastName: z.string(),
  type: z.enum(['NORMAL', 'VIP']),
});

export class ReadClient extends query('read-client', z.object({ clientId: recordId }), client.nullable(), {
  askedBy: ['clients', 'loyalty', 'rides'],
}) {}
