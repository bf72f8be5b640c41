import { z } from 'zod';
import { durableEvent } from '../../src/infrastructure/contracts/message.js';

/** An order is in our books. */
export class OrderPlaced extends durableEvent('shop.orders.order-placed', z.object({ item: z.string() })) {}
