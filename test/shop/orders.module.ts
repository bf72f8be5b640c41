import { Body, Controller, Get, Module, NotFoundException, Param, Post } from '@nestjs/common';
import { CommandBus, EventsHandler, QueryBus } from '@nestjs/cqrs';
import { InjectDataSource, TypeOrmModule } from '@nestjs/typeorm';
import { Column, DataSource, Entity, PrimaryColumn } from 'typeorm';
import type { DurableEventHandler } from '../../src/infrastructure/contracts/message.js';
import { Outbox } from '../../src/infrastructure/outbox/outbox.js';
import { MeshFeature } from '../../src/infrastructure/contracts/mesh-feature.js';
import { UnitOfWork } from '../../src/infrastructure/persistence/unit-of-work.js';
import * as contract from './orders.contract.js';
import { OrderShipped, ReadShipment, ShipOrder } from './shipping.contract.js';

/** An entity of the shop, unchanged by the mesh. */
@Entity('orders')
export class Order {
  @PrimaryColumn('text')
  id: string;
  @Column('text')
  item: string;
  @Column('text', { default: 'placed' })
  status: string;
}

@Controller('orders')
export class OrdersController {
  constructor(
    @InjectDataSource() private readonly dataSource: DataSource,
    private readonly outbox: Outbox,
    private readonly work: UnitOfWork,
    private readonly commands: CommandBus,
    private readonly queries: QueryBus,
  ) {}

  @Post()
  async place(@Body() { id, item, fail }: { id: string; item: string; fail?: boolean }) {
    await this.dataSource.transaction(async (manager) => {
      await manager.insert(Order, { id, item });
      await this.outbox.add(manager, new contract.OrderPlaced(id, { item }));
      await this.outbox.add(manager, new ShipOrder(id, { item }));
      if (fail) throw new NotFoundException('Sold out after all');
    });
    return { id };
  }

  /** Ships an order again after its parcel was lost. */
  @Post(':id/again')
  async again(@Param('id') id: string) {
    await this.work.run(async () => {
      const order = await this.work.repository(Order).findOneByOrFail({ id });
      await this.work.repository(Order).update({ id }, { status: 'placed' });
      await this.commands.execute(new ShipOrder(id, { item: order.item }));
    });
    return { id };
  }

  @Get(':id')
  async read(@Param('id') id: string) {
    const order = await this.dataSource.manager.findOneBy(Order, { id });
    return { order, shipment: await this.queries.execute(new ReadShipment({ orderId: id })) };
  }
}

@EventsHandler(OrderShipped)
export class NoteOnOrderShipped implements DurableEventHandler<OrderShipped> {
  constructor(private readonly work: UnitOfWork) {}

  async handle({ subject: id, data: { carrier } }: OrderShipped): Promise<void> {
    await this.work.repository(Order).update({ id }, { status: `with ${carrier}` });
  }
}

@MeshFeature({ name: 'orders', contract, entities: [Order] })
@Module({
  imports: [TypeOrmModule.forFeature([Order])],
  controllers: [OrdersController],
  providers: [NoteOnOrderShipped],
})
export class OrdersModule {}
