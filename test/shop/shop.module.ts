import 'reflect-metadata';
import {
  Injectable,
  Module,
  UnauthorizedException,
  type CallHandler,
  type CanActivate,
  type ExecutionContext,
  type NestInterceptor,
} from '@nestjs/common';
import { APP_GUARD, APP_INTERCEPTOR } from '@nestjs/core';
import { getDataSourceToken, TypeOrmModule } from '@nestjs/typeorm';
import { MeshModule } from 'nestjs-meshy';
import { map, type Observable } from 'rxjs';
import type { DataSource, DataSourceOptions } from 'typeorm';
import { CustomersModule } from './customers.module.js';
import { Customer, Order } from './entities.js';
import { MailsModule } from './mails.module.js';
import { OrdersModule } from './orders.module.js';
import { ShippingModule, ShippingTables1763900000000 } from './shipping.module.js';

/* A shop that existed before the mesh, with its own data source, guard and form of responses. */

@Injectable()
class ApiKeyGuard implements CanActivate {
  canActivate(context: ExecutionContext): boolean {
    const request = context.switchToHttp().getRequest<{ headers: Record<string, string | undefined> }>();
    if (request.headers['x-api-key'] !== 'secret') throw new UnauthorizedException();
    return true;
  }
}

@Injectable()
class DataInterceptor implements NestInterceptor {
  intercept(_: ExecutionContext, next: CallHandler): Observable<{ data: unknown }> {
    return next.handle().pipe(map((data: unknown) => ({ data })));
  }
}

const database = (): DataSourceOptions => ({
  ...(JSON.parse(process.env.SHOP_DATABASE!) as DataSourceOptions),
  entities: [Order, Customer],
  synchronize: true,
});

/** Also for `npx meshy migrate`. */
export const migrations = [{ owner: 'shipping', migrations: [ShippingTables1763900000000] }];

@Module({
  imports: [
    TypeOrmModule.forRootAsync({ useFactory: database }),
    MeshModule.forRootAsync({
      inject: [getDataSourceToken()],
      useFactory: (host: DataSource) => ({
        application: 'shop',
        modules: [OrdersModule, ShippingModule, MailsModule],
        database: host,
        migrations,
        migrate: true,
        administration: { isDevelopment: true },
        ...(process.env.K_SINK && { broker: { sink: process.env.K_SINK } }),
      }),
      http: 'administration',
    }),
    OrdersModule,
    ShippingModule,
    MailsModule,
    CustomersModule,
  ],
  providers: [
    { provide: APP_GUARD, useClass: ApiKeyGuard },
    { provide: APP_INTERCEPTOR, useClass: DataInterceptor },
  ],
})
export class ShopModule {}
