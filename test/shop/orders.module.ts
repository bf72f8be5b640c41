import { Body, Controller, Get, Module, NotFoundException, Param, Post } from '@nestjs/common';
import { CommandBus, EventsHandler, QueryBus } from '@nestjs/cqrs';
import { InjectDataSource, TypeOrmModule } from '@nestjs/typeorm';
import { MeshFeature, Outbox, UnitOfWork, type DurableEventHandler } from 'nestjs-meshy';
import { DataSource } from 'typeorm';
import { CustomersModule, CustomersService } from './customers.module.js';
import { Order } from './entities.js';
import * as contract from './orders.contract.js';
import { OrderShipped, ReadShipment, ShipOrder } from './shipping.contract.js';

interface NewOrder {
  readonly id: string;
  readonly item: string;
  readonly email: string;
  readonly fail?: boolean;
}

@Controller('orders')
export class OrdersController {
  constructor(
    @InjectDataSource() private readonly dataSource: DataSource,
    private readonly outbox: Outbox,
    private readonly work: UnitOfWork,
    private readonly commands: CommandBus,
    private readonly queries: QueryBus,
    private readonly customers: CustomersService,
  ) {}

  @Post()
  async place(@Body() { id, item, email, fail }: NewOrder) {
    const customer = await this.customers.withEmail(email);
    await this.dataSource.transaction(async (manager) => {
      await manager.insert(Order, { id, item, customer });
      await this.outbox.add(manager, new contract.OrderPlaced(id, { item, email }));
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
    const order = await this.dataSource.manager.findOne(Order, { where: { id }, relations: { customer: true } });
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

@MeshFeature({ name: 'orders', contract })
@Module({
  imports: [TypeOrmModule.forFeature([Order]), CustomersModule],
  controllers: [OrdersController],
  providers: [NoteOnOrderShipped],
})
export class OrdersModule {}
