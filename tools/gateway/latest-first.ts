import type { Service } from './forwarding.js';
import type { Aggregator } from './aggregator.js';

/** Largest page that a process returns. */
export const PAGE_SIZE = 100;

/** The items of a listing of one process, in its order. Pages are fetched when they are needed. */
export async function* itemsOf<Item>(
  aggregator: Aggregator,
  service: Service,
  path: string,
  given: URLSearchParams,
): AsyncGenerator<Item> {
  for (let page = 1; ; page++) {
    const query = new URLSearchParams(given);
    query.set('page', String(page));
    query.set('size', String(PAGE_SIZE));
    const answer = await aggregator.request(service, 'GET', `${path}?${query}`);
    const items = (answer?.body.items ?? []) as Item[];
    yield* items;
    if (items.length < PAGE_SIZE) return;
  }
}

/** One page of the items of several processes, as if one process had them all. */
export async function pageOf<Item>(
  sources: readonly AsyncGenerator<Item>[],
  comesFirst: (a: Item, b: Item) => boolean,
  { page, size }: { page: number; size: number },
): Promise<Item[]> {
  const from = (page - 1) * size;
  const items: Item[] = [];
  let position = 0;
  for await (const item of merged(sources, comesFirst)) {
    if (position++ >= from) items.push(item);
    if (items.length === size) break;
  }
  return items;
}

async function* merged<Item>(
  sources: readonly AsyncGenerator<Item>[],
  comesFirst: (a: Item, b: Item) => boolean,
): AsyncGenerator<Item> {
  const next = async (source: AsyncGenerator<Item>) => ({ source, head: await source.next() });
  let heads = await Promise.all(sources.map(next));
  for (;;) {
    heads = heads.filter(({ head }) => !head.done);
    if (heads.length === 0) return;
    const first = heads.reduce((a, b) => (comesFirst(b.head.value as Item, a.head.value as Item) ? b : a));
    yield first.head.value as Item;
    heads[heads.indexOf(first)] = await next(first.source);
  }
}
