import { NestFactory } from '@nestjs/core';
import { adapter } from './platform.js';
import { ShopModule } from './shop.module.js';

async function bootstrap(): Promise<void> {
  const app = await NestFactory.create(ShopModule, adapter(), { logger: ['error', 'warn'] });
  app.setGlobalPrefix('api');
  // The relay ends its work before the process ends.
  app.enableShutdownHooks();
  await app.listen(process.env.PORT ?? 0, '127.0.0.1');
  console.log(`listening on ${await app.getUrl()}`);
}

void bootstrap();
