import { formatRequestError, oneUrlOf, print, runCommand } from './command-line.js';

const USAGE = `npm run demo -- [options]

  Plays one transit against a running application: a client who collects miles, a driver, the transit, its completion,
  and how it is settled.

  --url U    the application; default: the environment variable CABS_URL, else http://localhost:3000, or the port
             of the environment variable PORT`;

const correlationId = `demo-${Date.now().toString(36)}`;
let url: string;

interface Transit {
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
  print(`  ${String(response.status)}  ${method} ${path}${body ? `  ${JSON.stringify(body)}` : ''}`);
  if (!response.ok) throw new Error(`${method} ${path} was refused: ${reply.detail ?? JSON.stringify(reply)}`);
  return reply;
}

function say(text: string): void {
  print('', text);
}

async function playDemo(): Promise<void> {
  say(`A client joins and collects miles.   (each log line contains the correlationId ${correlationId})`);
  const client = await call<{ id: number }>('POST', '/clients', { name: 'Anna', lastName: 'Nowak' });
  await call('POST', `/clients/${client.id}/awards`);
  await call('POST', `/clients/${client.id}/awards/activate`);

  say('A driver joins. The company keeps 4.8 %, and the driver earns at least 10.00.');
  const licence = { firstName: 'Jan', lastName: 'Kowalski', driverLicense: 'FARME100165AB5EW' };
  const fee = { type: 'percentage', amount: 480, min: 1000 };
  const driver = await call<{ id: number }>('POST', '/drivers', { ...licence, fee });
  await call('POST', `/drivers/${driver.id}/activate`);

  say('The client orders a ride.');
  const order = { clientId: client.id, from: address('Młynarska', 20), to: address('Żytnia', 25) };
  const transit = await call<Transit>('POST', '/transits', order);
  say(
    `${transit.distanceKm} km by the ${transit.tariff.name} tariff: about ${money(transit.estimatedPrice)}. It is offered to drivers.`,
  );
  await call('POST', `/transits/${transit.id}/publish`);

  say('The driver accepts. The drivers module has to confirm that they are free; Prefer: wait=5 waits for that.');
  await call('POST', `/transits/${transit.id}/accept`, { driverId: driver.id }, 'wait=5');
  say('The client gets in.');
  await call('POST', `/transits/${transit.id}/start`);

  say('The client gets out at another address than planned. The user waits only for this answer:');
  const began = performance.now();
  await call('POST', `/transits/${transit.id}/complete`, address('Żytnia', 32));
  print(`       answered after ${(performance.now() - began).toFixed(0)} ms`);

  say('The rest happens asynchronously:');
  const settled = await waitForSettlement(transit.id, began);
  say(`Price ${money(settled.price)}, of which the driver earns ${money(settled.driverFee)}.`);
  await call('GET', `/transits/${transit.id}`);
  const invoices = await call<{ amount: number; subjectName: string }[]>('GET', `/invoices?transitId=${transit.id}`);
  for (const { amount, subjectName } of invoices) print(`       invoice of ${money(amount)} for ${subjectName}`);
  const awards = await call<{ balance: number }>('GET', `/clients/${client.id}/awards`);
  print(`       ${awards.balance} miles`);
  const { occupied } = await call<{ occupied: boolean }>('GET', `/drivers/${driver.id}`);
  print(`       the driver is ${occupied ? 'still occupied' : 'free'}`);
}

/** Prints each step of the settlement as it is completed. @throws Error when it takes longer than 30 s */
async function waitForSettlement(id: string, began: number): Promise<Transit> {
  let last = '';
  for (let attempt = 0; attempt < 3000; attempt++) {
    const transit = (await (await fetch(`${url}/transits/${id}`)).json()) as Transit;
    const steps = Object.entries(transit.settlement ?? {}).map(([step, state]) => `${step} ${state}`);
    const line = `${transit.status.padEnd(10)}  ${steps.join(', ')}`;
    if (line !== last) print(`  ${(performance.now() - began).toFixed(0).padStart(5)} ms  ${line}`);
    last = line;
    if (transit.status === 'COMPLETED' && !transit.settlementSince) return transit;
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  throw new Error(`Not settled after 30 s. See ${url}/mesh/outbox and ${url}/mesh/dead-letters.`);
}

await runCommand(
  {
    usage: USAGE,
    options: { url: { type: 'string' } },
    formatError: (error) => `\n${formatRequestError(error)}`,
  },
  async (values) => {
    url = oneUrlOf(values.url, 'CABS_URL');
    await playDemo();
  },
);
