import { once } from 'node:events';
import { connect, createServer, type AddressInfo, type Socket } from 'node:net';

/** A TCP proxy in front of a database. It can drop traffic as after a power loss, which leaves half-open connections. */
export interface HalfOpenProxy {
  /** The URL of the database through the proxy. */
  readonly url: string;
  /**
   * Drops the database's answers from now on, or `everything`, including the ends of connections. Existing connections
   * stay half-open. New connections are closed at once (`refused`), or accepted without an answer (`accepted`).
   */
  dropTraffic(what: 'everything' | 'answers', newConnections: 'refused' | 'accepted'): void;
  /** Forwards new connections again. Half-open ones stay half-open. */
  passTraffic(): void;
  /** Delays what is forwarded from now on, in ms each way. */
  delay(ms: number): void;
  close(): void;
}

interface Connection {
  readonly client: Socket;
  /** Absent when the connection was accepted while traffic is dropped. */
  readonly server?: Socket;
  dropped?: 'everything' | 'answers';
}

export async function openHalfOpenProxy(database: string): Promise<HalfOpenProxy> {
  const target = new URL(database);
  const connections = new Set<Connection>();
  let delayMs = 0;
  // Timers of one length fire in their order.
  const later = (forward: () => void) => (delayMs > 0 ? void setTimeout(forward, delayMs) : forward());
  let newConnections: 'forwarded' | 'refused' | 'accepted' = 'forwarded';
  const proxy = createServer((client) => {
    client.on('error', () => undefined);
    if (newConnections === 'refused') return void client.destroy();
    if (newConnections === 'accepted') return void connections.add({ client });
    const server = connect(Number(target.port), target.hostname);
    const connection: Connection = { client, server };
    connections.add(connection);
    server.on('error', () => undefined);
    server.on('data', (chunk) => connection.dropped ?? later(() => client.write(chunk)));
    server.on('close', () => connection.dropped ?? client.destroy());
    client.on('data', (chunk) => connection.dropped === 'everything' || later(() => server.write(chunk)));
    client.on('close', () => connection.dropped === 'everything' || server.destroy());
  });
  await once(proxy.listen(0, '127.0.0.1'), 'listening');
  const url = new URL(database);
  url.port = String((proxy.address() as AddressInfo).port);
  return {
    url: url.href,
    dropTraffic: (what, howNewConnections) => {
      newConnections = howNewConnections;
      for (const connection of connections) connection.dropped = what;
    },
    passTraffic: () => (newConnections = 'forwarded'),
    delay: (ms) => (delayMs = ms),
    close: () => {
      proxy.close();
      for (const { client, server } of connections) [client, server].forEach((it) => it?.destroy());
    },
  };
}
