import { once } from 'node:events';
import { createServer, type RequestListener, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { Inject, Injectable } from '@nestjs/common';
import { HttpAdapterHost } from '@nestjs/core';
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

/** The port that serves a route: that of the mesh, the public one of the application, or both. */
export type ServedPort = 'mesh' | 'public' | 'both';

/** Requests that came by a mesh listener. They carry no mark that a client could set. */
const meshRequests = new WeakSet<object>();

/**
 * A port of its own for brokers, other processes and administration: the same application, served by a second HTTP server.
 * A client that reaches the public port then reaches none of them.
 */
@Injectable()
export class MeshListener {
  private server?: Server;
  private closed?: Promise<unknown>;

  constructor(
    private readonly host: HttpAdapterHost,
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

  /** Whether the port by which a request came serves a route. Without a port of the mesh, all routes share one. */
  serves(request: object, served: ServedPort): boolean {
    return !this.options || served === 'both' || meshRequests.has(request) === (served === 'mesh');
  }

  /** Begins to take requests. @throws Error when the port is taken */
  async open(): Promise<void> {
    // An application context without HTTP has no adapter.
    const { httpAdapter } = this.host;
    if (!this.options || !httpAdapter) return;
    const handle = httpAdapter.getInstance<RequestListener>();
    const server = createServer((request, response) => {
      meshRequests.add(request);
      handle(request, response);
    });
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
