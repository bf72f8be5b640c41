import { z } from 'zod';
import { durableEvent } from '../../src/infrastructure/contracts/message.js';

/** An order was stored. */
export class OrderPlaced extends durableEvent('shop.orders.order-placed', z.object({ item: z.string() })) {}
