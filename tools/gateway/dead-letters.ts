import type { ListedDeadLetter } from '../../src/infrastructure/dead-letters/dead-letter.js';
import { addSkipped, type SkippedDeadLetters } from '../../src/infrastructure/dead-letters/replay-report.js';
import type { Service } from './forwarding.js';
import { ErrorAnswer, Unreachable, type Aggregator, type Answer } from './aggregator.js';
import { itemsOf, PAGE_SIZE, pageOf } from './latest-first.js';

/* The dead letters of all processes, combined as if one process kept them. */

/** Lists dead letters, the latest first, or counts them by cause. @throws ErrorAnswer */
export async function listDeadLetters(aggregator: Aggregator, query: string): Promise<object> {
  const given = new URLSearchParams(query);
  const { answers, missing } = await aggregator.requestAll('GET', `/mesh/dead-letters?${query}`);
  const total = answers.reduce((sum, { body }) => sum + Number(body.total), 0);
  const incomplete = missing.length > 0 ? { unreachable: missing } : {};
  if (given.has('by')) return { total, causes: causesOf(answers), ...incomplete };
  const [page, size] = [Number(given.get('page') ?? 1), Number(given.get('size') ?? 20)];
  const isThere = (page - 1) * size < total;
  const sources = answers.map(({ service }) =>
    itemsOf<ListedDeadLetter>(aggregator, service, '/mesh/dead-letters', given),
  );
  const items = isThere ? await pageOf(sources, comesFirst, { page, size }) : [];
  return { items, page, size, total, ...incomplete };
}

interface Cause {
  readonly consumer: string;
  readonly type: string;
  readonly cause: string;
  readonly count: number;
  readonly firstAt?: string;
  readonly lastAt?: string;
}

function causesOf(answers: readonly Answer[]): Cause[] {
  const causes = new Map<string, Cause>();
  for (const one of answers.flatMap(({ body }) => body.causes as Cause[])) {
    const key = JSON.stringify([one.consumer, one.type, one.cause]);
    const same = causes.get(key);
    const times = [one.firstAt, same?.firstAt, one.lastAt, same?.lastAt].filter((it) => it !== undefined).sort();
    const [firstAt, lastAt] = [times[0], times.at(-1)];
    causes.set(key, { ...one, count: one.count + (same?.count ?? 0), ...(firstAt && { firstAt, lastAt }) });
  }
  return [...causes.values()].sort((a, b) => b.count - a.count).slice(0, PAGE_SIZE);
}

function comesFirst(a: ListedDeadLetter, b: ListedDeadLetter): boolean {
  return a.deadAt === b.deadAt ? a.id < b.id : a.deadAt > b.deadAt;
}

/**
 * Finds the process that keeps a dead letter.
 * @throws ErrorAnswer when no process keeps it, or the id is invalid
 * @throws Unreachable when a process that may keep it can't be reached
 */
export async function keeperOf(aggregator: Aggregator, id: string): Promise<Service> {
  const answers = await Promise.all(
    aggregator.allServices.map((service) => aggregator.request(service, 'GET', `/mesh/dead-letters/${id}`)),
  );
  const received = answers.filter((it) => it !== undefined);
  const keeper = received.find(({ status }) => status === 200);
  if (keeper) return keeper.service;
  const missing = aggregator.allServices.filter((_, index) => !answers[index]).map(({ name }) => name);
  const [refused] = received.filter(({ status }) => status !== 404);
  if (refused) throw new ErrorAnswer(refused);
  if (missing.length > 0)
    throw new Unreachable(`No other process keeps it, and these can't be reached: ${missing.join(', ')}`);
  throw new ErrorAnswer(received[0]!);
}

/** Requeues matching dead letters in all processes. @throws ErrorAnswer before a dead letter has been requeued */
export async function replayDeadLetters(aggregator: Aggregator, query: string): Promise<object> {
  const replay = (service: Service) => aggregator.request(service, 'POST', `/mesh/dead-letters/replay?${query}`);
  const { services, broker } = aggregator.upstreams;
  const answers = await Promise.all(services.map(replay));
  // A conflict concerns one process; all other errors hold for all. The broker comes last: it refuses only what they refuse.
  const refused = answers.find((answer) => answer && answer.status >= 400 && answer.status !== 409);
  if (refused) throw new ErrorAnswer(refused);
  if (broker) answers.push(await replay(broker));
  let replayed = 0;
  let skipped: SkippedDeadLetters[] = [];
  const failures: Record<string, unknown> = {};
  for (const [index, { name }] of aggregator.allServices.entries()) {
    const answer = answers[index];
    if (answer?.status === 202) {
      replayed += Number(answer.body.replayed);
      for (const it of (answer.body.skipped ?? []) as SkippedDeadLetters[]) skipped = addSkipped(skipped, it);
    }
    // A broker that doesn't know the path is no failure.
    else if (answer?.status !== 404) failures[name] = answer?.body.detail ?? 'unreachable';
  }
  return {
    replayed,
    ...(skipped.length > 0 && { skipped }),
    ...(Object.keys(failures).length > 0 && { processes: failures }),
  };
}
