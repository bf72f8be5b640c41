import { once } from 'node:events';
import { connect, createServer, type AddressInfo, type Server, type Socket } from 'node:net';
import type { Random } from './random.js';

/** A connection that can be cut: a port in front of another, which passes on what it gets, until it doesn't. */
export class Line {
  /** The probability that a piece of what is sent, either way, is the last: half of it arrives. */
  cutting = 0;
  private readonly sockets = new Set<Socket>();

  private constructor(
    private readonly server: Server,
    private readonly target: number,
    private readonly random: Random,
  ) {
    server.on('connection', (near: Socket) => this.join(near));
  }

  /** @param target the port that it leads to */
  static async open(target: number, random: Random): Promise<Line> {
    const server = createServer({ allowHalfOpen: true });
    const line = new Line(server, target, random);
    await once(server.listen(0, '127.0.0.1'), 'listening');
    return line;
  }

  get port(): number {
    return (this.server.address() as AddressInfo).port;
  }

  get url(): string {
    return `http://127.0.0.1:${this.port}`;
  }

  /** Cuts a share of the connections there are, wherever they stand. */
  cut(share = 1): void {
    for (const socket of this.sockets) if (this.random.chance(share)) socket.destroy();
  }

  close(): void {
    this.server.close();
    this.cut();
  }

  private join(near: Socket): void {
    const far = connect({ port: this.target, host: '127.0.0.1', allowHalfOpen: true });
    this.pass(near, far);
    this.pass(far, near);
  }

  private pass(from: Socket, to: Socket): void {
    this.sockets.add(from);
    from.setNoDelay(true);
    from.on('data', (chunk: Buffer) => {
      if (this.cutting > 0 && this.random.chance(this.cutting)) {
        to.write(chunk.subarray(0, chunk.length >> 1), () => to.destroy());
        from.destroy();
      } else if (!to.write(chunk)) {
        from.pause();
        to.once('drain', () => from.resume());
      }
    });
    from.on('end', () => to.end());
    // Who is refused or reset is told by the close.
    from.on('error', () => undefined);
    from.on('close', () => {
      this.sockets.delete(from);
      to.destroy();
    });
  }
}
