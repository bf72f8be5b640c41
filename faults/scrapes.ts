import { request } from 'undici';
import { databaseOf } from './combinations.js';
import { select, type NamedDatabase } from './databases.js';
import type { Ledger } from './ledger.js';
import type { Service } from './service.js';

/** Pause between two scrapes, in ms. */
const INTERVAL_MS = 1000;
const TIMEOUT_MS = 3000;
/** What a process counts when it accepts the completion of a transit. */
const ACCEPTED = 'mesh_messages_added_total{type="cabs.rides.complete-transit"}';
const STARTED = 'process_start_time_seconds';
const STORED = `SELECT (SELECT COUNT(*) FROM mesh_outbox) + (SELECT COUNT(*) FROM mesh_delivery) AS pending,
  (SELECT COUNT(*) FROM mesh_dead_letter) AS dead`;

/** The metrics of all processes at one time. */
interface Scrape {
  /** When the first process was asked and the last one had answered, in ms since 1970. */
  readonly from: number;
  readonly until: number;
  /** Which processes these are: another start is another process. */
  readonly processes: string;
  /** Completions that the processes have accepted since they started. */
  readonly accepted: number;
}

/**
 * Scrapes the metrics of the processes while faults are injected, as Prometheus does. Between two scrapes of the same
 * processes the metrics have to count every completion that began and was answered meanwhile.
 */
export class Scrapes {
  /** Completions that were compared. */
  compared = 0;
  private readonly scrapes: Scrape[] = [];
  private timer?: NodeJS.Timeout;

  /** @param services the processes that users complete transits at */
  constructor(private readonly services: readonly Service[]) {}

  start(): void {
    this.timer = setInterval(() => void this.scrape(), INTERVAL_MS);
  }

  stop(): void {
    clearInterval(this.timer);
  }

  /** @returns what differs from the ledger */
  compare({ entries }: Ledger): string[] {
    const differences: string[] = [];
    const completions = entries.filter(({ action }) => action === 'complete');
    for (let first = 0; first < this.scrapes.length;) {
      const from = this.scrapes[first]!;
      let last = first;
      while (this.scrapes[last + 1]?.processes === from.processes) last++;
      const until = this.scrapes[last]!;
      const known = completions.filter((it) => it.began > from.until && it.at < until.from).length;
      const counted = until.accepted - from.accepted;
      this.compared += known;
      if (counted < known)
        differences.push(`the metrics of ${from.processes} count ${counted} of ${known} completions in one window`);
      first = last + 1;
    }
    return differences;
  }

  private async scrape(): Promise<void> {
    const from = Date.now();
    try {
      const texts = await Promise.all(this.services.map(textOf));
      const processes = texts
        .map((text, index) => `${this.services[index]!.name}@${valueIn(text, STARTED)}`)
        .join(', ');
      const accepted = texts.reduce((total, text) => total + valueIn(text, ACCEPTED), 0);
      this.scrapes.push({ from, until: Date.now(), processes, accepted });
      this.scrapes.sort((a, b) => a.from - b.from);
    } catch {
      // A process that was killed, or has lost its database, can't be scraped.
    }
  }
}

/** Compares the metrics with the databases when no message is in flight. @returns what differs */
export async function differencesAtRest(
  services: readonly Service[],
  databases: readonly NamedDatabase[],
): Promise<string[]> {
  const differences: string[] = [];
  for (const database of databases) {
    const service = services.find(({ name }) => databaseOf(name) === database.name);
    if (!service) continue;
    const [stored] = await select<{ pending: number | string; dead: number | string }>([database], STORED);
    const text = await textOf(service);
    const told = { pending: valueIn(text, 'mesh_pending'), dead: valueIn(text, 'mesh_dead_letters') };
    for (const what of ['pending', 'dead'] as const)
      if (told[what] !== Number(stored![what]))
        differences.push(
          `the metrics of ${service.name} tell ${told[what]} ${what} messages, there are ${stored![what]}`,
        );
  }
  return differences;
}

async function textOf({ plan: { port } }: Service): Promise<string> {
  const signal = AbortSignal.timeout(TIMEOUT_MS);
  const { statusCode, body } = await request(`http://127.0.0.1:${port}/mesh/metrics`, { signal });
  const text = await body.text();
  if (statusCode !== 200) throw new Error(`The metrics are answered with ${statusCode}: ${text.slice(0, 200)}`);
  return text;
}

/** 0 for a series that isn't there yet. */
function valueIn(text: string, series: string): number {
  const line = text.split('\n').find((it) => it.startsWith(`${series} `));
  return line === undefined ? 0 : Number(line.slice(series.length + 1));
}
