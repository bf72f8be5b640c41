import { urlOf, type Services } from './addresses.js';
import type { ChannelKind } from './channel.js';
import type { Destination } from './delivery-spec.js';
import type { Manifests } from './manifests.js';

const KINDS: Record<ChannelKind, string> = {
  synchronous: 'Channel: synchronous, as in Knative 1.13 and later. 202 means: every subscriber has handled the event.',
  asynchronous: 'Channel: asynchronous, as in Knative 1.12. 202 means: the event is on disk.',
};

/** Describes a broker for people who start it, in lines for a terminal. */
export function describe(
  url: string,
  kind: ChannelKind,
  { brokers, triggers, warnings }: Manifests,
  services: Services,
  { pending, deadLetters }: { readonly pending: number; readonly deadLetters: number },
): string[] {
  const shown = (to: Destination) => urlOf(to, services) ?? `UNRESOLVED (--service ${to.service}=URL)`;
  const withoutSink = kind === 'synchronous' ? 'failed messages answered with 500' : 'dead letters parked here';
  const lines = new Map<string, string[]>();
  for (const { filterText, broker, subscriber, deadLetterSink, delivery } of triggers) {
    const sink = deadLetterSink ? `dead letters to ${shown(deadLetterSink)}` : withoutSink;
    const terms = `Broker ${broker}, retries ${delivery.retry}, ${sink}:`;
    lines.set(terms, [...(lines.get(terms) ?? []), `  ${filterText} -> ${shown(subscriber)}`]);
  }
  return [
    'Laptop broker: a development tool. Production is Knative.',
    KINDS[kind],
    ...brokers.map((broker) => `Broker ${broker}: ${url}/${broker}`),
    ...[...lines].flatMap(([terms, subscriptions]) => [terms, ...subscriptions]),
    ...(pending > 0 ? [`${pending} messages of an earlier run are still to be delivered.`] : []),
    ...(deadLetters > 0
      ? [`${deadLetters} dead letters are parked here: npm run mesh:dead-letters -- list --url ${url}`]
      : []),
    ...warnings.map((it) => `Warning: ${it}.`),
  ];
}
