import { durableEvent } from 'nestjs-meshy';
import { z } from 'zod';

/** An order was stored. */
export class OrderPlaced extends durableEvent(
  'shop.orders.order-placed',
  z.object({ item: z.string(), email: z.string() }),
) {}
