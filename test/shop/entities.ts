import { Column, Entity, ManyToOne, OneToMany, PrimaryColumn, PrimaryGeneratedColumn, type Relation } from 'typeorm';

@Entity('customers')
export class Customer {
  @PrimaryGeneratedColumn()
  id: number;
  @Column('text', { unique: true })
  email: string;
  @OneToMany(() => Order, (order) => order.customer)
  orders: Relation<Order>[];
}

@Entity('orders')
export class Order {
  @PrimaryColumn('text')
  id: string;
  @Column('text')
  item: string;
  @Column('text', { default: 'placed' })
  status: string;
  @ManyToOne(() => Customer, (customer) => customer.orders)
  customer: Relation<Customer>;
}
