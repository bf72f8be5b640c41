import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { setTimeout as wait } from 'node:timers/promises';
import { Ledger } from '../../faults/ledger.js';
import { Scrapes } from '../../faults/scrapes.js';
import type { Service } from '../../faults/service.js';

describe('The scrapes of the fault rig', () => {
  let server: Server;
  let started = 1;
  let accepted = 0;

  beforeEach(async () => {
    [started, accepted] = [1, 0];
    server = createServer((_, response) => {
      const added = `mesh_messages_added_total{type="cabs.rides.complete-transit"} ${accepted}`;
      response.end(`# HELP process_start_time_seconds\nprocess_start_time_seconds ${started}\n${added}\n`);
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  });
  afterEach(() => server.close());

  /** Scrapes while users complete transits. @param counts how many of them the process counts */
  const play = async (counts: (n: number) => number) => {
    const { port } = server.address() as AddressInfo;
    const scrapes = new Scrapes([{ name: 'cabs', plan: { port } } as Service]);
    const ledger = new Ledger();
    scrapes.start();
    await wait(1300);
    for (let n = 1; n <= 5; n++) {
      const began = Date.now();
      accepted = counts(n);
      await wait(5);
      ledger.record('complete', n, 202, began);
      ledger.record('client', n, 201);
    }
    await wait(1300);
    scrapes.stop();
    return { scrapes, differences: scrapes.compare(ledger) };
  };

  it('agree with a process that counts what it accepts', async () => {
    const { scrapes, differences } = await play((n) => n);
    expect(differences).toEqual([]);
    expect(scrapes.compared).toBe(5);
  });

  it('find a process that counts less than it accepts', async () => {
    const { differences } = await play((n) => n - 1);
    expect(differences).toEqual(['the metrics of cabs@1 count 4 of 5 completions in one window']);
  });

  it('compare nothing across a start, which begins at 0 again', async () => {
    const { scrapes, differences } = await play((n) => {
      started = 2;
      return n - 5;
    });
    expect(differences).toEqual([]);
    expect(scrapes.compared).toBe(0);
  });
});
