import type { Server } from 'node:http';
import { Body, Controller, Module, Post, type INestApplication } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { EventBus, EventsHandler } from '@nestjs/cqrs';
import { ExpressAdapter } from '@nestjs/platform-express';
import { FastifyAdapter } from '@nestjs/platform-fastify';
import { z } from 'zod';
import { HTTP } from '../../src/infrastructure/cloudevents/http-binding.js';
import { MeshFeature } from '../../src/infrastructure/contracts/mesh-feature.js';
import { durableEvent } from '../../src/infrastructure/contracts/message.js';
import { MeshListener } from '../../src/infrastructure/http/mesh-listener.js';
import type { MeshOptions } from '../../src/infrastructure/mesh-options.js';
import { MeshModule } from '../../src/infrastructure/mesh.module.js';
import { UnitOfWork } from '../../src/infrastructure/persistence/unit-of-work.js';
import { eventually } from '../support/cabs.js';
import { DATABASES } from '../support/databases.js';

class Rung extends durableEvent('host.bell.rung', z.object({ times: z.int() }), {
  sentBy: ['bell', 'https://tower.example'],
}) {}

const heard: string[] = [];

@EventsHandler(Rung)
class HearOnRung {
  async handle({ subject, data: { times } }: Rung) {
    heard.push(`${subject} ${times}`);
  }
}

@Controller('bell')
class BellController {
  constructor(
    private readonly work: UnitOfWork,
    private readonly events: EventBus,
  ) {}

  @Post()
  async ring(@Body() { times }: { times: number }) {
    await this.work.run(async () => this.events.publish(new Rung('bell', { times })));
    return { times };
  }
}

@MeshFeature({ name: 'bell', contract: { Rung } })
@Module({ controllers: [BellController], providers: [HearOnRung] })
class BellModule {}

async function rootModule(options: Partial<MeshOptions> = {}) {
  const mesh = MeshModule.forRoot({
    application: 'host',
    modules: [BellModule],
    database: await DATABASES[0]!.fresh(),
    migrate: true,
    http: 'administration',
    administration: { isDevelopment: true },
    ...options,
  });
  @Module({ imports: [mesh, BellModule] })
  class Root {}
  return Root;
}

const post = (url: string, body: object, headers: object = {}) =>
  fetch(url, {
    method: 'POST',
    body: JSON.stringify(body),
    headers: { 'content-type': 'application/json', ...headers },
  });
const parcel = { specversion: '1.0', id: '1', source: 'https://tower.example', type: Rung.type, subject: 'tower' };
const { headers: eventHeaders } = HTTP.binary({ ...parcel, data: { times: 3 } });
const heardOf = (expected: string) =>
  eventually(
    async () => heard,
    (it) => it.includes(expected),
    5000,
  );

beforeEach(() => heard.splice(0));

describe.each([
  ['Express', () => new ExpressAdapter()],
  ['Fastify', () => new FastifyAdapter()],
])('The mesh on %s', (_, adapter) => {
  let app: INestApplication;
  afterEach(() => app.close());

  const start = async (options: Partial<MeshOptions> = {}) => {
    app = await NestFactory.create<INestApplication>(await rootModule(options), adapter() as ExpressAdapter, {
      logger: false,
      abortOnError: false,
    });
    await app.listen(0, '127.0.0.1');
    return app.getUrl();
  };

  it('delivers, and serves its routes; those of the application go on working', async () => {
    const url = await start();
    const rung = await post(`${url}/bell`, { times: 2 });
    expect([rung.status, await rung.json()]).toEqual([201, { times: 2 }]);
    await heardOf('bell 2');
    expect(await (await fetch(`${url}/mesh/outbox`)).json()).toMatchObject({ deadLetters: 0 });
    expect((await fetch(`${url}/mesh/outbox?a=1`)).status).toBe(400);
    expect((await fetch(`${url}/nowhere`)).status).toBe(404);
    expect((await fetch(`${url}/mesh/nowhere`)).status).toBe(404);
    // Without a broker nothing is delivered over HTTP.
    expect((await post(`${url}/mesh/bell`, {}, eventHeaders)).status).toBe(404);
  });

  it('takes deliveries of a broker', async () => {
    const url = await start({ broker: { sink: 'http://127.0.0.1:9/' } });
    expect((await post(`${url}/mesh/bell`, { times: 3 }, eventHeaders)).status).toBe(204);
    expect(heard).toEqual(['tower 3']);
    expect((await post(`${url}/mesh/bell`, { times: 3 }, { ...eventHeaders, 'ce-id': '' })).status).toBe(400);
  });

  it('has a port of its own where the application gives it one', async () => {
    const url = await start({ broker: { sink: 'http://127.0.0.1:9/' }, listener: { port: 0, host: '127.0.0.1' } });
    const mesh = `http://127.0.0.1:${app.get(MeshListener).port}`;
    expect((await fetch(`${url}/mesh/outbox`)).status).toBe(404);
    expect((await post(`${url}/mesh/bell`, { times: 3 }, eventHeaders)).status).toBe(404);
    expect((await fetch(`${mesh}/mesh/outbox`)).status).toBe(200);
    expect((await post(`${mesh}/mesh/bell`, { times: 3 }, eventHeaders)).status).toBe(204);
    expect((await post(`${mesh}/bell`, { times: 2 })).status).toBe(404);
  });
});

it("answers requests without headersDistinct, as Fastify's inject() makes them up, which Jest can't load here", async () => {
  const token = 'a'.repeat(32);
  const root = await rootModule({ administration: { isDevelopment: false, token } });
  const app = await NestFactory.create(root, { logger: false, abortOnError: false });
  (app.getHttpServer() as Server).prependListener('request', (request) => {
    Object.defineProperty(request, 'headersDistinct', { value: undefined, writable: true });
  });
  try {
    await app.listen(0, '127.0.0.1');
    const outbox = `${await app.getUrl()}/mesh/outbox`;
    expect((await fetch(outbox)).status).toBe(401);
    expect((await fetch(outbox, { headers: { authorization: `Bearer ${token}` } })).status).toBe(200);
  } finally {
    await app.close();
  }
});

it('runs in a worker without HTTP, also with a broker and a port of its own', async () => {
  const listener = { port: 0, host: '127.0.0.1' };
  const root = await rootModule({ broker: { sink: 'http://127.0.0.1:9/' }, listener });
  const worker = await NestFactory.createApplicationContext(root, { logger: false, abortOnError: false });
  try {
    const url = `http://127.0.0.1:${worker.get(MeshListener).port}`;
    expect((await post(`${url}/mesh/bell`, { times: 3 }, eventHeaders)).status).toBe(204);
    expect(heard).toEqual(['tower 3']);
  } finally {
    await worker.close();
  }
});
