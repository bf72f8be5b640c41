import type { AddressInfo } from 'node:net';
import { HttpAdapterHost, type ModuleRef } from '@nestjs/core';
import { DEMO_RIDE, PICKUP, PLANNED, REACHED } from './demo.js';
import type { ConsoleAction } from './infrastructure/console/console-options.js';

/* What the buttons of the console do in development: requests to this process, as a user sends them. */

const RIDES = 10;

/** An action of the demo, which can also be played at another address: that of a gateway. */
interface DemoAction extends ConsoleAction {
  runAt(url: string): Promise<string>;
}

export const DEMO_ACTIONS: readonly DemoAction[] = [
  demoAction('end-demo-ride', 'End the demo ride', async (request) => {
    await request('POST', `/transits/${DEMO_RIDE}/complete`, REACHED);
    return 'The demo ride has ended, and is being settled.';
  }),
  demoAction('start-ten-rides', 'Start ten rides', async (request) => {
    await Promise.all(Array.from({ length: RIDES }, () => playRide(request)));
    return `${RIDES} rides were ordered, driven and ended.`;
  }),
];

function demoAction(name: string, label: string, play: (request: Request) => Promise<string>): DemoAction {
  const runAt = (url: string) => play(requestTo(url));
  return { name, label, runAt, run: (app) => runAt(ownUrl(app)) };
}

function ownUrl(app: ModuleRef): string {
  const server = app.get(HttpAdapterHost, { strict: false }).httpAdapter.getHttpServer() as { address(): AddressInfo };
  return `http://localhost:${server.address().port}`;
}

type Request = <Reply>(method: string, path: string, body?: object, prefer?: string) => Promise<Reply>;

/** @returns a function that throws the detail of an answer that refuses the request */
function requestTo(url: string): Request {
  return async <Reply>(method: string, path: string, body?: object, prefer?: string) => {
    const response = await fetch(url + path, {
      method,
      headers: { 'Content-Type': 'application/json', ...(prefer && { Prefer: prefer }) },
      ...(body && { body: JSON.stringify(body) }),
    });
    const reply = (await response.json()) as Reply & { detail?: string };
    if (!response.ok) throw new Error(reply.detail ?? `${method} ${path} was answered with ${response.status}`);
    return reply;
  };
}

async function playRide(request: Request): Promise<void> {
  const client = await request<{ id: number }>('POST', '/clients', { name: 'Anna', lastName: 'Nowak' });
  const driver = await request<{ id: number }>('POST', '/drivers', {
    firstName: 'Jan',
    lastName: 'Kowalski',
    driverLicense: 'FARME100165AB5EW',
    fee: { type: 'percentage', amount: 480, min: 1000 },
  });
  await request('POST', `/drivers/${driver.id}/activate`);
  const order = { clientId: client.id, from: PICKUP, to: PLANNED };
  const { id } = await request<{ id: string }>('POST', '/transits', order);
  await request('POST', `/transits/${id}/publish`);
  // The drivers have to confirm that this one is free.
  await request('POST', `/transits/${id}/accept`, { driverId: driver.id }, 'wait=5');
  await request('POST', `/transits/${id}/start`);
  await request('POST', `/transits/${id}/complete`, REACHED);
}
