import { once } from 'node:events';
import { createServer, type RequestListener, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { Inject, Injectable } from '@nestjs/common';
import { BACKLOG, configureServer } from './configure-server.js';
import { Connections } from './connections.js';

/** The injection token of `ListenerOptions`; undefined where the mesh shares the port of the application. */
export const MESH_LISTENER = Symbol('MESH_LISTENER');

export interface ListenerOptions {
  /** 0 for any free port. */
  readonly port: number;
  /** The address to listen on; all addresses by default. */
  readonly host?: string;
}

/**
 * A port of its own for brokers, other processes and administration: a second HTTP server. A client that reaches the public
 * port then reaches none of them.
 */
@Injectable()
export class MeshListener {
  private server?: Server;
  private closed?: Promise<unknown>;

  constructor(
    private readonly connections: Connections,
    @Inject(MESH_LISTENER) private readonly options: ListenerOptions | undefined,
  ) {}

  /** Whether the mesh has a port of its own. */
  get isSeparate(): boolean {
    return this.options !== undefined;
  }

  /** The open port. */
  get port(): number | undefined {
    return (this.server?.address() as AddressInfo | null | undefined)?.port;
  }

  /** Begins to take requests, where the mesh has a port of its own. @throws Error when the port is taken */
  async open(handle: RequestListener): Promise<void> {
    if (!this.options) return;
    const server = createServer(handle);
    configureServer(server, this.connections);
    this.connections.watch(server);
    server.listen({ ...this.options, backlog: BACKLOG });
    await once(server, 'listening');
    this.server = server;
  }

  /** Takes no new connections. */
  stop(): void {
    if (!this.server || this.closed) return;
    this.closed = once(this.server, 'close');
    this.server.close();
  }

  /** Resolves after stop(), when all requests have been answered. */
  async drained(): Promise<void> {
    await this.closed;
  }
}
