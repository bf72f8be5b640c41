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
 * Takes out what would send the events of a broker back to it, in a circle without end.
 * @param port of the broker on this machine
 * @param warn called with a sentence for each
 */
export function withoutCircles(
  triggers: readonly TriggerManifest[],
  services: Services,
  port: number,
  warn: (text: string) => void,
): TriggerManifest[] {
  const isOwn = (to: Destination | undefined) => to !== undefined && isLocal(urlOf(to, services), port);
  return triggers.flatMap((trigger) => {
    const { name, namespace, subscriber, deadLetterSink } = trigger;
    const where = `Trigger ${namespace}/${name}`;
    if (isOwn(subscriber)) {
      warn(`${where} is left out: its subscriber is this broker, so its events would go in a circle`);
      return [];
    }
    if (!isOwn(deadLetterSink)) return [trigger];
    warn(`${where}: its dead letter sink is this broker. It is treated as if it had no dead letter sink`);
    return [{ ...trigger, deadLetterSink: undefined }];
  });
}

function isLocal(url: string | undefined, port: number): boolean {
  if (url === undefined || !URL.canParse(url)) return false;
  const { hostname, port: given, protocol } = new URL(url);
  const isLoopback = /^(localhost|.+\.localhost|127(\.\d+){3}|\[::1\]|\[::ffff:7f.+\]|0\.0\.0\.0|\[::\])\.?$/.test(
    hostname,
  );
  return isLoopback && Number(given || (protocol === 'https:' ? 443 : 80)) === port;
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
