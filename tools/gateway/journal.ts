import type { JournalEntry } from '../../src/infrastructure/maintenance/journal.routes.js';
import { ErrorAnswer, Unreachable, type Aggregator } from './aggregator.js';
import { itemsOf, pageOf } from './latest-first.js';

/** The journals of all processes that keep one, the latest row first. @throws ErrorAnswer, Unreachable */
export async function listJournal(aggregator: Aggregator, query: string): Promise<object> {
  const path = '/mesh/journal';
  const { services } = aggregator.upstreams;
  const answers = await Promise.all(services.map((it) => aggregator.request(it, 'GET', `${path}?${query}`)));
  const missing = services.filter((_, index) => !answers[index]).map(({ name }) => name);
  const received = answers.filter((it) => it !== undefined);
  const kept = received.filter(({ status }) => status === 200);
  const [first] = received;
  if (!first) throw new Unreachable('No process is running that could tell what happened');
  if (kept.length === 0) throw new ErrorAnswer(first);
  const given = new URLSearchParams(query);
  const [page, size] = [Number(given.get('page') ?? 1), Number(given.get('size') ?? 20)];
  const sources = kept.map(({ service }) => itemsOf<JournalEntry>(aggregator, service, path, given));
  const items = await pageOf(sources, (a, b) => a.handledAt > b.handledAt, { page, size });
  return { items, page, size, ...(missing.length > 0 && { unreachable: missing }) };
}
