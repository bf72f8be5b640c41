import { MAX_OPEN } from './broker/bulkheads.js';
import { CloudEventsClient } from './broker/cloudevents-client.js';
import { TokenFile } from './broker/token-file.js';
import { RemoteQueries } from './cqrs/remote-queries.js';
import type { MeshOptions } from './mesh-options.js';
import { brokerChainMs, deliveryOf } from './policies.js';

/* The clients of a process for the broker and for other processes. */

/** The client for requeued dead letters: a consumer behind an address answers as fast as one of this process. */
export function clientOf(options: MeshOptions): CloudEventsClient {
  return newClient(options, { timeoutMs: deliveryOf(options).timeoutMs });
}

/** The client for the broker, which may answer only after the last retry of the last consumer. */
export function publishingClient(options: MeshOptions): CloudEventsClient {
  const timeoutMs = options.broker?.publishTimeoutMs ?? brokerChainMs(deliveryOf(options));
  return newClient(options, { timeoutMs, connections: MAX_OPEN });
}

function newClient({ broker }: MeshOptions, limits: { timeoutMs: number; connections?: number }): CloudEventsClient {
  const { extensions, caCerts, tokenFile } = broker ?? {};
  return new CloudEventsClient({
    ...limits,
    ...(extensions && { extensions }),
    ...(caCerts && { caCerts }),
    ...(tokenFile && { token: new TokenFile(tokenFile) }),
  });
}

export function remoteQueriesOf({ broker }: MeshOptions): RemoteQueries {
  const { services = {}, queryTokenFile } = broker ?? {};
  return new RemoteQueries(services, queryTokenFile ? new TokenFile(queryTokenFile) : undefined);
}
