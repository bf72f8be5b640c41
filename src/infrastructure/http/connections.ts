import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import { Injectable } from '@nestjs/common';
import { dropRequest, ignoreRest } from './dropped-requests.js';
import { hasBody } from './request-body.js';
import { headBytes } from './request-checks.js';
import { UnreadAnswers } from './unread-answers.js';
import { limitUnreadBody } from './unread-body.js';

/** Requests of one connection that may wait for the answers before theirs. Browsers and brokers send none. */
const MAX_PIPELINED = 100;
/**
 * Requests of all connections that wait for the answers before theirs. Node has read them, so each takes up some kilobytes:
 * the connection that brings one more is closed.
 */
const MAX_HELD = 10_000;
/** What the head of a request that waits may take up, in bytes. */
const MAX_HELD_HEAD = 4096;
/** How long a connection on which a request may be arriving is kept when the server stops, in ms. */
const ARRIVING_MS = 500;
/** Pause between two searches for connections to close while the servers stop, in ms. */
const SWEEP_MS = 50;

/** The request of a connection that is being answered, and those that wait for its answer. */
interface Exchange {
  readonly response: ServerResponse;
  readonly waiting: { response: ServerResponse; next: () => void }[];
  /** Requests that wait, or that are not going to be answered. */
  held: number;
  isFull: boolean;
  /** Whether the connection ends after this answer, because something that is no request follows. */
  isOver: boolean;
}

/**
 * The connections of the HTTP servers of this process. A request is handled when the answers before it have been sent, so
 * that a client that doesn't read makes the process keep one answer. When the process stops, each answer carries
 * `Connection: close`, and connections without a request in flight are closed.
 */
@Injectable()
export class Connections {
  private readonly servers = new Set<Server>();
  private readonly sockets = new Set<Socket>();
  private readonly exchanges = new Map<Socket, Exchange>();
  private isEnding = false;
  private held = 0;
  private readonly unread = new UnreadAnswers();

  /** Whether the process is about to stop: it still answers, but wants no more requests. */
  get areEnding(): boolean {
    return this.isEnding;
  }

  /**
   * Ends a connection on which something that is no request follows a request that is being answered: after that answer, for
   * which anything else would be taken. The rest of a request whose body hasn't arrived completely belongs to that request.
   * @returns false when no answer is going to be sent, so that the caller may send one
   */
  endAfterAnswer(socket: Socket): boolean {
    const exchange = this.exchanges.get(socket);
    if (!exchange) return false;
    const { response } = exchange;
    // Node reports each further piece that arrives, too.
    if (exchange.isOver) return true;
    if (response.req.complete || response.headersSent) {
      exchange.isOver = true;
      exchange.isFull = true;
      exchange.waiting.splice(0);
      ignoreRest(socket);
      socket.pause();
      endConnection(response);
      response.once('finish', () => socket.destroySoon());
      return true;
    }
    // The caller answers in its place. A response without a socket is never closed.
    response.detachSocket(socket);
    this.end(socket, exchange);
    return false;
  }

  /** Includes the connections of a server, which doesn't listen yet. */
  watch(server: Server): void {
    if (this.servers.has(server)) return;
    this.servers.add(server);
    /** The sockets of this server; those that sent no request for the longest time come first. */
    const sockets = new Set<Socket>();
    server.on('connection', (socket: Socket) => {
      for (const it of [this.sockets, sockets]) {
        it.add(socket);
        socket.once('close', () => it.delete(socket));
      }
      // Idle and slow connections of some clients must not keep others out: Node refuses those beyond its limit.
      if (sockets.size >= server.maxConnections) this.makeRoom(sockets, socket);
    });
    server.on('request', ({ socket }: IncomingMessage) => {
      if (sockets.delete(socket)) sockets.add(socket);
    });
    // Node itself answers what comes after the last request of a connection, and keeps each until the answers before are sent.
    server.on('dropRequest', (_request: IncomingMessage, socket: Socket) => ignoreRest(socket));
  }

  /** Closes the connection that sent no request for the longest time, unless this process works on its last one. */
  private makeRoom(sockets: Iterable<Socket>, newest: Socket): void {
    for (const socket of sockets) if (socket !== newest && !this.worksFor(socket)) return void socket.destroy();
  }

  /** Closes all connections for which this process doesn't work on a request. @returns how many */
  closeUnworked(): number {
    return [...this.sockets].filter((it) => !this.worksFor(it)).map((it) => it.destroy()).length;
  }

  private worksFor(socket: Socket): boolean {
    const response = this.exchanges.get(socket)?.response;
    return response !== undefined && response.req.complete && !response.writableEnded;
  }

  /** From now on each answer ends its connection. New connections are accepted as before. */
  endAfterAnswers(): void {
    this.isEnding = true;
    for (const { response } of this.exchanges.values()) endConnection(response);
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
        const isIdle = !this.exchanges.has(socket) && ms >= ARRIVING_MS;
        if (isIdle || ms >= graceMs) socket.destroy();
      }
      for (const server of this.servers) server.closeIdleConnections();
      const isOpen = [...this.servers].some(({ listening }) => listening) || this.sockets.size > 0;
      if (isOpen) setTimeout(sweep, SWEEP_MS).unref();
    };
    setImmediate(sweep);
  }

  /** Handles a request when the answers before it have been sent. */
  take(socket: Socket, response: ServerResponse, next: () => void): void {
    const exchange = this.exchanges.get(socket);
    if (!exchange) return this.begin(socket, { response, waiting: [], held: 0, isFull: false, isOver: false }, next);
    exchange.held++;
    if (++this.held > MAX_HELD) {
      ignoreRest(socket);
      return void socket.destroy();
    }
    // What waits must be small: neither many or long headers, nor a body that comes in many pieces.
    const { req: request } = response;
    const isSmall = headBytes(request) <= MAX_HELD_HEAD && !hasBody(request);
    if (exchange.waiting.length < MAX_PIPELINED && !exchange.isFull && isSmall)
      return void exchange.waiting.push({ response, next });
    // The last answer closes the connection, which tells the client to send the rest again.
    exchange.isFull = true;
    ignoreRest(socket);
    dropRequest(request);
    socket.pause();
  }

  private end(socket: Socket, { held }: Exchange): void {
    this.unread.forget(socket);
    this.held -= held;
    this.exchanges.delete(socket);
  }

  private begin(socket: Socket, exchange: Exchange, next: () => void): void {
    const { response, waiting } = exchange;
    this.exchanges.set(socket, exchange);
    limitUnreadBody(response);
    if (this.isEnding || (exchange.isFull && waiting.length === 0)) endConnection(response);
    response.once('prefinish', () => {
      // By then the kernel has taken what it can.
      setImmediate(() => {
        if (this.exchanges.get(socket)?.response === response) this.unread.note(socket, headBytes(response.req));
      });
    });
    response.once('close', () => {
      this.unread.forget(socket);
      const following = waiting.shift();
      // After an answer with Connection: close, requests that wait are not handled, as HTTP demands.
      if (following && socket.writable) {
        this.held--;
        const { held } = exchange;
        this.begin(socket, { ...exchange, response: following.response, held: held - 1 }, following.next);
      } else {
        this.end(socket, exchange);
      }
    });
    next();
  }
}

/** Has no effect on an answer whose headers have been sent: its connection is closed as an idle one. */
function endConnection(response: ServerResponse): void {
  response.shouldKeepAlive = false;
}
