import { once } from 'node:events';
import { connect, createServer, type AddressInfo, type Socket } from 'node:net';

/** A way to a database that can fall silent, as if a cable had been cut somewhere: nobody hangs up. */
export interface HalfOpenProxy {
  /** The URL of the database by this way. */
  readonly url: string;
  /**
   * From now on nothing comes back, and with `everything` nothing gets there either, not even that somebody hangs up. What
   * is connected stays so for good. New connections are hung up at once (`refused`), or told nothing, too (`accepted`).
   */
  dropTraffic(what: 'everything' | 'answers', newOnes: 'refused' | 'accepted'): void;
  /** New connections get through again; the old ones don't. */
  passTraffic(): void;
  close(): void;
}

interface Pair {
  readonly near: Socket;
  readonly far?: Socket;
  silent?: 'everything' | 'answers';
}

export async function openHalfOpenProxy(database: string): Promise<HalfOpenProxy> {
  const target = new URL(database);
  const pairs = new Set<Pair>();
  let silence: { what: Pair['silent']; newOnes: 'refused' | 'accepted' } | undefined;
  const server = createServer((near) => {
    near.on('error', () => undefined);
    if (silence?.newOnes === 'refused') return void near.destroy();
    if (silence) return void pairs.add({ near });
    const far = connect(Number(target.port), target.hostname);
    const pair: Pair = { near, far };
    pairs.add(pair);
    far.on('error', () => undefined);
    far.on('data', (chunk) => pair.silent ?? near.write(chunk));
    far.on('close', () => pair.silent ?? near.destroy());
    near.on('data', (chunk) => pair.silent === 'everything' || far.write(chunk));
    near.on('close', () => pair.silent === 'everything' || far.destroy());
  });
  await once(server.listen(0, '127.0.0.1'), 'listening');
  const url = new URL(database);
  url.port = String((server.address() as AddressInfo).port);
  return {
    url: url.href,
    dropTraffic: (what, newOnes) => {
      silence = { what, newOnes };
      for (const pair of pairs) pair.silent = what;
    },
    passTraffic: () => (silence = undefined),
    close: () => {
      server.close();
      for (const { near, far } of pairs) [near, far].forEach((it) => it?.destroy());
    },
  };
}
