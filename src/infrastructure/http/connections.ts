import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import { Injectable } from '@nestjs/common';
import { HttpAdapterHost } from '@nestjs/core';

/** How long a connection on which a request may be arriving is kept when the server stops, in ms. */
const ARRIVING_MS = 500;
/** Pause between two searches for connections to close while the servers stop, in ms. */
const SWEEP_MS = 50;

/**
 * The connections of the HTTP servers of this process. When the process stops, each answer carries `Connection: close`, and
 * connections without a request in flight are closed.
 */
@Injectable()
export class Connections {
  private readonly servers = new Set<Server>();
  private readonly sockets = new Set<Socket>();
  private readonly inFlight = new Map<Socket, Set<ServerResponse>>();
  private isEnding = false;

  constructor(host: HttpAdapterHost) {
    host.init$.subscribe(() => {
      host.httpAdapter.use((request: IncomingMessage, response: ServerResponse, next: () => void) => {
        this.begin(request.socket, response);
        next();
      });
    });
  }

  /** Whether the process is about to stop: it still answers, but wants no more requests. */
  get areEnding(): boolean {
    return this.isEnding;
  }

  /** Includes the connections of a server, which doesn't listen yet. */
  watch(server: Server): void {
    if (this.servers.has(server)) return;
    this.servers.add(server);
    server.on('connection', (socket: Socket) => {
      this.sockets.add(socket);
      socket.once('close', () => {
        this.sockets.delete(socket);
        this.inFlight.delete(socket);
      });
    });
  }

  /** From now on each answer ends its connection. New connections are accepted as before. */
  endAfterAnswers(): void {
    this.isEnding = true;
    for (const responses of this.inFlight.values()) responses.forEach(endConnection);
  }

  /**
   * Closes each connection as soon as it has no request in flight, and all others after `graceMs`, until the servers have
   * none. The servers must stop listening in the same turn of the event loop.
   */
  close(graceMs: number): void {
    this.endAfterAnswers();
    const began = performance.now();
    const sweep = () => {
      const ms = performance.now() - began;
      for (const socket of this.sockets) {
        const isIdle = !this.inFlight.has(socket) && ms >= ARRIVING_MS;
        if (isIdle || ms >= graceMs) socket.destroy();
      }
      for (const server of this.servers) server.closeIdleConnections();
      const isOpen = [...this.servers].some(({ listening }) => listening) || this.sockets.size > 0;
      if (isOpen) setTimeout(sweep, SWEEP_MS).unref();
    };
    setImmediate(sweep);
  }

  private begin(socket: Socket, response: ServerResponse): void {
    if (this.isEnding) endConnection(response);
    const responses = this.inFlight.get(socket) ?? new Set();
    this.inFlight.set(socket, responses.add(response));
    response.once('close', () => {
      responses.delete(response);
      if (responses.size === 0) this.inFlight.delete(socket);
    });
  }
}

/** Has no effect on an answer whose headers have been sent: its connection is closed as an idle one. */
function endConnection(response: ServerResponse): void {
  response.shouldKeepAlive = false;
}
