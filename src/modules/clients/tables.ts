import { Column, Entity, PrimaryGeneratedColumn } from 'typeorm';

@Entity('clients_client')
export class Client {
  @PrimaryGeneratedColumn('increment')
  id: number;
  @Column('text')
  name: string;
  @Column('text')
  lastName: string;
  @Column('text')
  type: 'NORMAL' | 'VIP';
}
