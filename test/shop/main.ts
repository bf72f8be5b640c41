import 'reflect-metadata';
import type { Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { Module } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { TypeOrmModule } from '@nestjs/typeorm';
import type { DataSourceOptions } from 'typeorm';
import { MeshModule } from '../../src/infrastructure/mesh.module.js';
import { Order, OrdersModule } from './orders.module.js';
import { ShippingModule, ShippingTables1763900000000 } from './shipping.module.js';

/* A shop that existed before the mesh, with its own data source, transactions and responses. */

const options = JSON.parse(process.env.SHOP_DATABASE!) as DataSourceOptions;
const database = { ...options, entities: [Order], synchronize: true };

const { K_SINK: sink, PORT = '0' } = process.env;

@Module({
  imports: [
    TypeOrmModule.forRoot(database),
    MeshModule.forRoot({
      application: 'shop',
      modules: [OrdersModule, ShippingModule],
      database,
      migrations: [{ owner: 'shipping', migrations: [ShippingTables1763900000000] }],
      migrate: true,
      http: 'administration',
      administration: { isDevelopment: true },
      ...(sink && { broker: { sink } }),
    }),
    OrdersModule,
    ShippingModule,
  ],
})
class ShopModule {}

const app = await NestFactory.create(ShopModule, { logger: ['error', 'warn'], abortOnError: false });
app.enableShutdownHooks(undefined, { useProcessExit: true });
await app.listen(Number(PORT), '127.0.0.1');
console.log(`listening on ${((app.getHttpServer() as Server).address() as AddressInfo).port}`);
