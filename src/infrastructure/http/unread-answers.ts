import type { Socket } from 'node:net';

/** Bytes that the clients of all connections may leave unread. */
const MAX_BYTES = 32 * 1024 * 1024;
/** How often a client that hasn't read its answer is looked at, in ms. */
const CHECK_MS = 30_000;
/** What a client must have read since the last look, in bytes: a kilobyte a second. */
const MIN_BYTES = CHECK_MS;

interface Unread {
  /** In memory when the answer was noted. */
  readonly bytes: number;
  /** Those of them that are not the answer. */
  readonly kept: number;
  /** `leftOf()` when the connection was noted. */
  readonly left: number;
  readonly timer: NodeJS.Timeout;
}

/**
 * Answers that have been written, and wait in the memory of this process for clients to read them. Closes the connections of
 * clients that stop reading, and of those that read least recently when all together leave too much.
 */
export class UnreadAnswers {
  /** Those that read least recently come first. */
  private readonly connections = new Map<Socket, Unread>();
  private bytes = 0;

  /** Takes note of an answer that has been written. @param kept what else is in memory until the client takes it, in bytes */
  note(socket: Socket, kept: number): void {
    if (socket.destroyed || socket.writableLength === 0) return;
    this.set(socket, kept);
    for (const [slow, { left, kept: keptOfSlow }] of this.connections) {
      if (this.bytes <= MAX_BYTES) return;
      this.forget(slow);
      if (leftOf(slow) < left) this.set(slow, keptOfSlow);
      else slow.destroy();
    }
  }

  forget(socket: Socket): void {
    const unread = this.connections.get(socket);
    if (!unread) return;
    clearInterval(unread.timer);
    this.bytes -= unread.bytes;
    this.connections.delete(socket);
  }

  private set(socket: Socket, kept: number): void {
    const bytes = socket.writableLength + kept;
    const noted = leftOf(socket);
    let left = noted;
    const look = () => {
      if (leftOf(socket) > left - MIN_BYTES) socket.destroy();
      left = leftOf(socket);
    };
    this.connections.set(socket, { bytes, kept, left: noted, timer: setInterval(look, CHECK_MS).unref() });
    this.bytes += bytes;
  }
}

/** Falls while the client reads: `writableLength` alone falls when the kernel has taken all of one write. */
function leftOf(socket: Socket): number {
  const { _handle: handle } = socket as Socket & { _handle?: { readonly writeQueueSize?: number } | null };
  return socket.writableLength + (handle?.writeQueueSize ?? 0);
}
