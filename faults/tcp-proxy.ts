import { once } from 'node:events';
import { connect, createServer, type AddressInfo, type Server, type Socket } from 'node:net';
import type { Random } from './random.js';

/** Forwards a port to another port, and cuts connections on demand. */
export class TcpProxy {
  /** Probability that a chunk, in either direction, is cut in half and ends its connection. */
  cutProbability = 0;
  private readonly sockets = new Set<Socket>();

  private constructor(
    private readonly server: Server,
    private readonly target: number,
    private readonly random: Random,
  ) {
    server.on('connection', (near: Socket) => this.connect(near));
  }

  /** @param target the port to which connections are forwarded */
  static async open(target: number, random: Random): Promise<TcpProxy> {
    const server = createServer({ allowHalfOpen: true });
    const proxy = new TcpProxy(server, target, random);
    await once(server.listen(0, '127.0.0.1'), 'listening');
    return proxy;
  }

  get port(): number {
    return (this.server.address() as AddressInfo).port;
  }

  get url(): string {
    return `http://127.0.0.1:${this.port}`;
  }

  /** Cuts a share of the connections there are, wherever they testBed. */
  cutConnections(probability = 1): void {
    for (const socket of this.sockets) if (this.random.chance(probability)) socket.destroy();
  }

  close(): void {
    this.server.close();
    this.cutConnections();
  }

  private connect(near: Socket): void {
    const far = connect({ port: this.target, host: '127.0.0.1', allowHalfOpen: true });
    this.forward(near, far);
    this.forward(far, near);
  }

  private forward(from: Socket, to: Socket): void {
    this.sockets.add(from);
    from.setNoDelay(true);
    from.on('data', (chunk: Buffer) => {
      if (this.cutProbability > 0 && this.random.chance(this.cutProbability)) {
        to.write(chunk.subarray(0, chunk.length >> 1), () => to.destroy());
        from.destroy();
      } else if (!to.write(chunk)) {
        from.pause();
        to.once('drain', () => from.resume());
      }
    });
    from.on('end', () => to.end());
    // The close event follows, and closes the other side.
    from.on('error', () => undefined);
    from.on('close', () => {
      this.sockets.delete(from);
      to.destroy();
    });
  }
}
