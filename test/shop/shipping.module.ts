import { Body, Controller, HttpCode, Module, Post } from '@nestjs/common';
import { CommandHandler, EventBus, EventsHandler, QueryHandler } from '@nestjs/cqrs';
import {
  InboxReceiver,
  MeshFeature,
  Reject,
  UnitOfWork,
  type CloudEvent,
  type DurableCommandHandler,
  type DurableEventHandler,
} from 'nestjs-meshy';
import { Column, Entity, PrimaryColumn, type MigrationInterface, type QueryRunner } from 'typeorm';
import * as contract from './shipping.contract.js';
import { OrderShipped, ParcelDelivered, ReadShipment, ShipOrder } from './shipping.contract.js';

@Entity('shipping_shipment')
class Shipment {
  @PrimaryColumn('text')
  orderId: string;
  @Column('text')
  item: string;
  @Column('text')
  carrier: string;
  @Column('integer', { default: 0 })
  deliveries: number;
}

@CommandHandler(ShipOrder)
class ShipOrderHandler implements DurableCommandHandler<ShipOrder, string> {
  constructor(
    private readonly work: UnitOfWork,
    private readonly events: EventBus,
  ) {}

  /** Runs before the transaction, so it may wait: a real shop would ask its carriers. */
  async prepare({ data: { item } }: ShipOrder): Promise<string> {
    if (item === 'air') throw new Reject('Nothing to ship');
    return item.length > 20 ? 'a lorry' : 'a bicycle';
  }

  async execute({ subject: orderId, data: { item } }: ShipOrder, carrier: string): Promise<void> {
    const row = { orderId, item, carrier };
    await this.work.repository(Shipment).createQueryBuilder().insert().values(row).orIgnore().execute();
    this.events.publish(new OrderShipped(orderId, { carrier }));
  }
}

@EventsHandler(ParcelDelivered)
class CountOnParcelDelivered implements DurableEventHandler<ParcelDelivered> {
  constructor(private readonly work: UnitOfWork) {}

  async handle({ subject: orderId }: ParcelDelivered): Promise<void> {
    await this.work.repository(Shipment).increment({ orderId }, 'deliveries', 1);
  }
}

@QueryHandler(ReadShipment)
class ReadShipmentHandler {
  constructor(private readonly work: UnitOfWork) {}

  execute({ data: { orderId } }: ReadShipment) {
    return this.work.repository(Shipment).findOneBy({ orderId });
  }
}

/** The carrier sends each event at least once. */
@Controller('carrier')
class CarrierController {
  constructor(private readonly receiver: InboxReceiver) {}

  @Post()
  @HttpCode(200)
  async receive(@Body() event: CloudEvent) {
    return { outcome: await this.receiver.receive('shipping', event) };
  }
}

export class ShippingTables1763900000000 implements MigrationInterface {
  async up(runner: QueryRunner): Promise<void> {
    await runner.query(`CREATE TABLE shipping_shipment (
      "orderId" text PRIMARY KEY, item text NOT NULL, carrier text NOT NULL, deliveries integer NOT NULL DEFAULT 0
    )`);
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.query('DROP TABLE shipping_shipment');
  }
}

@MeshFeature({ name: 'shipping', contract, entities: [Shipment] })
@Module({
  controllers: [CarrierController],
  providers: [ShipOrderHandler, CountOnParcelDelivered, ReadShipmentHandler],
})
export class ShippingModule {}
