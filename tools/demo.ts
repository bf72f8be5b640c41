import { parseArgs } from 'node:util';

/*
 * npm run demo [-- --url http://localhost:3000]
 *
 * The whole journey from nothing, against a running instance: a client who collects miles, a driver, a ride, its
 * completion, and how it settles.
 */

const { values } = parseArgs({
  options: { url: { type: 'string', default: process.env.CABS_URL ?? 'http://localhost:3000' } },
});
const url = values.url.replace(/\/$/, '');
const correlationId = `demo-${Date.now().toString(36)}`;

interface Ride {
  readonly id: string;
  readonly status: string;
  readonly estimatedPrice: number;
  readonly price?: number;
  readonly driverFee?: number;
  readonly distanceKm: number;
  readonly tariff: { readonly name: string };
  readonly settlement?: Record<string, string>;
  readonly settlementSince?: string;
}

const address = (street: string, buildingNumber: number) => ({
  country: 'Polska',
  city: 'Warszawa',
  street,
  buildingNumber,
});
const money = (cents: number | undefined) => (cents === undefined ? '–' : (cents / 100).toFixed(2));

async function call<Reply>(method: string, path: string, body?: object, prefer?: string): Promise<Reply> {
  const response = await fetch(`${url}${path}`, {
    method,
    headers: {
      'content-type': 'application/json',
      'x-correlation-id': correlationId,
      ...(prefer && { prefer }),
    },
    ...(body && { body: JSON.stringify(body) }),
  });
  const reply = (await response.json()) as Reply & { detail?: string };
  console.log(`  ${String(response.status)}  ${method} ${path}${body ? `  ${JSON.stringify(body)}` : ''}`);
  if (!response.ok) throw new Error(`${method} ${path} was refused: ${reply.detail ?? JSON.stringify(reply)}`);
  return reply;
}

function say(text: string): void {
  console.log(`\n${text}`);
}

async function journey(): Promise<void> {
  say(`A client joins and collects miles.   (every line of the log carries correlationId ${correlationId})`);
  const client = await call<{ id: number }>('POST', '/clients', { name: 'Anna', lastName: 'Nowak' });
  await call('POST', `/clients/${client.id}/awards`);
  await call('POST', `/clients/${client.id}/awards/activate`);

  say('A driver joins; the company keeps 4.8 %, and he earns at least 10.00.');
  const licence = { firstName: 'Jan', lastName: 'Kowalski', driverLicense: 'FARME100165AB5EW' };
  const fee = { type: 'percentage', amount: 480, min: 1000 };
  const driver = await call<{ id: number }>('POST', '/drivers', { ...licence, fee });
  await call('POST', `/drivers/${driver.id}/activate`);

  say('She orders a ride.');
  const order = { clientId: client.id, from: address('Młynarska', 20), to: address('Żytnia', 25) };
  const ride = await call<Ride>('POST', '/transits', order);
  say(
    `${ride.distanceKm} km by the ${ride.tariff.name} tariff: about ${money(ride.estimatedPrice)}. It is offered to drivers.`,
  );
  await call('POST', `/transits/${ride.id}/publish`);

  say('He accepts. The drivers module has to confirm that he is free; we prefer to wait for that.');
  await call('POST', `/transits/${ride.id}/accept`, { driverId: driver.id }, 'wait=5');
  say('She gets in.');
  await call('POST', `/transits/${ride.id}/start`);

  say('She gets out, elsewhere than planned. This is all that she has to wait for:');
  const began = performance.now();
  await call('POST', `/transits/${ride.id}/complete`, address('Żytnia', 32));
  console.log(`       answered after ${(performance.now() - began).toFixed(0)} ms`);

  say('The rest happens by itself:');
  const settled = await watch(ride.id, began);
  say(`Price ${money(settled.price)}, of which the driver earns ${money(settled.driverFee)}.`);
  await call('GET', `/transits/${ride.id}`);
  const invoices = await call<{ amount: number; subjectName: string }[]>('GET', `/invoices?transitId=${ride.id}`);
  for (const { amount, subjectName } of invoices) console.log(`       invoice of ${money(amount)} for ${subjectName}`);
  const awards = await call<{ balance: number }>('GET', `/clients/${client.id}/awards`);
  console.log(`       ${awards.balance} miles`);
  const { occupied } = await call<{ occupied: boolean }>('GET', `/drivers/${driver.id}`);
  console.log(`       the driver is ${occupied ? 'still occupied' : 'free'}`);
}

/** Prints each step of the settlement as it is seen. @throws Error when it takes longer than half a minute */
async function watch(id: string, began: number): Promise<Ride> {
  let last = '';
  for (let looks = 0; looks < 3000; looks++) {
    const ride = (await (await fetch(`${url}/transits/${id}`)).json()) as Ride;
    const steps = Object.entries(ride.settlement ?? {}).map(([step, state]) => `${step} ${state}`);
    const line = `${ride.status.padEnd(10)}  ${steps.join(', ')}`;
    if (line !== last) console.log(`  ${(performance.now() - began).toFixed(0).padStart(5)} ms  ${line}`);
    last = line;
    if (ride.status === 'COMPLETED' && !ride.settlementSince) return ride;
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  throw new Error(`Not settled after 30 s; look at ${url}/mesh/outbox and ${url}/mesh/dead-letters`);
}

try {
  await journey();
} catch (error) {
  const { cause, message } = error as Error & { cause?: { code?: string } };
  const nobody = cause?.code === 'ECONNREFUSED';
  console.error(`\n${nobody ? `Nobody listens at ${url}: start the application first (npm run start:dev)` : message}`);
  process.exitCode = 1;
}
