import type { Addresses } from './consumers.js';
import { goUri } from './go-values.js';
import type { Destination } from './delivery-spec.js';
import type { TriggerManifest } from './manifests.js';

/** Base URLs of Services, by name. */
export type Services = Readonly<Record<string, string>>;

export function addressesOf({ subscriber, deadLetterSink }: TriggerManifest, services: Services): Addresses {
  return {
    subscriber: { url: urlOf(subscriber, services) },
    ...(deadLetterSink && { deadLetterSink: { url: urlOf(deadLetterSink, services) } }),
  };
}

/**
 * The address of a destination, as Go prints it in `knativeerrordest`: a URL without a path stays without one, although the
 * request goes to `/`.
 * @returns undefined when the address of the Service is not known
 */
export function urlOf({ service, uri }: Destination, services: Services): string | undefined {
  const base = service === undefined ? uri : Object.hasOwn(services, service) ? services[service] : undefined;
  if (base === undefined) return undefined;
  const url = service === undefined || uri === undefined ? base : new URL(uri, base).href;
  return goUri(url)?.text ?? url;
}
