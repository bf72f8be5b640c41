import type { Type } from '@nestjs/common';
import { consumersByType, meshFeatureOf, messagesIn } from '../contracts/mesh-feature.js';
import type { OutboxRoutes } from '../store/outbox-routes.js';

/** Which messages of a partition key wait for one another, and which wait for the same consumers. */
export interface PublishRouting {
  readonly routes: OutboxRoutes;
  readonly routeOf: (type: string) => { readonly order: string; readonly group: string };
}

/**
 * The unit of order: commands of a partition key to one module keep their order, and so do all events of a key.
 * Commands to different modules don't wait for each other. Types that stand in no contract count as events.
 */
export function publishRouting(modules: readonly Type[]): PublishRouting {
  const orders: Record<string, string> = {};
  const groups: Record<string, string> = {};
  for (const { name, contract } of modules.map(meshFeatureOf))
    for (const { kind, type } of messagesIn(contract).messages)
      if (kind === 'command') orders[type] = groups[type] = name;
  for (const [type, consumers] of consumersByType(modules)) groups[type] = consumers.join(' ');
  const known = new Map(
    Object.entries(groups).map(([type, group]) => [type, { order: orders[type] ?? '', group }] as const),
  );
  return { routes: { orders, groups }, routeOf: (type) => known.get(type) ?? UNKNOWN };
}

/** Of types that stand in no contract. */
const UNKNOWN = { order: '', group: '' };
