import { durableCommand, durableEvent, query } from 'nestjs-meshy';
import { z } from 'zod';

/** Ships an order to its customer, once per order (the subject). */
export class ShipOrder extends durableCommand('shop.shipping.ship-order', z.object({ item: z.string() }), {
  sentBy: ['orders'],
}) {}

export class OrderShipped extends durableEvent('shop.shipping.order-shipped', z.object({ carrier: z.string() })) {}

/** An event of the carrier, an external system. */
export class ParcelDelivered extends durableEvent('com.carrier.parcel-delivered', z.object({ door: z.string() }), {
  sentBy: ['https://carrier.example'],
}) {}

export class ReadShipment extends query(
  'read-shipment',
  z.object({ orderId: z.string() }),
  z.object({ item: z.string(), carrier: z.string(), deliveries: z.int() }).nullable(),
  { askedBy: ['orders'] },
) {}
