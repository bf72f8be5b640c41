import { Value } from './value';

export const PAGES = {
  overview: 'Overview',
  topology: 'Topology',
  timeline: 'Timeline',
  'dead-letters': 'Dead letters',
  reconciliation: 'Reconciliation',
  contracts: 'Contracts',
} as const;

export type Page = keyof typeof PAGES;

export interface Route {
  readonly page: Page;
  readonly parameters: Readonly<Record<string, string>>;
}

export const route = new Value<Route>(routeOf(location.hash));
addEventListener('hashchange', () => route.set(routeOf(location.hash)));

/** The hash of a page, for links. */
export function hashOf(page: Page, parameters: Readonly<Record<string, string | number>> = {}): string {
  const query = new URLSearchParams(Object.entries(parameters).map(([name, value]) => [name, String(value)]));
  return `#/${page}${query.size > 0 ? `?${query}` : ''}`;
}

function routeOf(hash: string): Route {
  const [path = '', query = ''] = hash.replace(/^#\//, '').split('?', 2);
  const page = Object.hasOwn(PAGES, path) ? (path as Page) : 'overview';
  return { page, parameters: Object.fromEntries(new URLSearchParams(query)) };
}
