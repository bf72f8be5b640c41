import type { ServerResponse } from 'node:http';
import { Inject, Injectable, type Type } from '@nestjs/common';
import { Conflict } from '../contracts/domain-errors.js';
import { ALL_MODULES, HandlerRegistry } from '../contracts/handler-registry.js';
import { APPLICATION } from '../contracts/permissions.js';
import { AdministrationGuard } from '../http/administration.js';
import { meshRoute, type MeshRoute } from '../http/mesh-route.js';
import { SECURITY_HEADERS } from '../http/security-headers.js';
import { Relay } from '../outbox/relay.js';
import { UnitOfWork } from '../persistence/unit-of-work.js';
import type { ConsoleFeed } from './console-feed.js';
import { CONSOLE, type ConsoleOptions } from './console-options.js';

const STREAM_TYPE = 'text/event-stream';

/** What only the console asks for. Most of it is loaded when a browser asks. */
@Injectable()
export class ConsoleRoutes {
  readonly routes: readonly MeshRoute[];
  private feed?: Promise<ConsoleFeed>;
  private isClosed = false;

  constructor(
    @Inject(CONSOLE) private readonly options: (ConsoleOptions & { broker?: string }) | undefined,
    @Inject(APPLICATION) private readonly application: string,
    @Inject(ALL_MODULES) private readonly modules: readonly Type[],
    private readonly registry: HandlerRegistry,
    private readonly work: UnitOfWork,
    private readonly relay: Relay,
    guard: AdministrationGuard,
  ) {
    const topology = meshRoute({
      method: 'GET',
      path: '/mesh/console/topology',
      summary: 'The modules, and the messages between them',
      isHidden: true,
      guard,
      handle: () => this.topology(),
    });
    const stream = meshRoute({
      method: 'GET',
      path: '/mesh/console/stream',
      summary: 'What happens in this process, as Server-Sent Events',
      isHidden: true,
      guard,
      handle: ({ request, response }) => (request.method === 'HEAD' ? Promise.resolve('') : this.stream(response)),
      contentType: STREAM_TYPE,
    });
    this.routes = options ? [topology, stream] : [];
  }

  /** Ends the streams, so that the server can close. */
  close(): void {
    this.isClosed = true;
    void this.feed?.then((feed) => feed.close());
  }

  private async topology(): Promise<object> {
    const { describedMessages, moduleNames } = await import('./topology.js');
    const modules = moduleNames(this.modules).map((name) => ({ name, isHosted: this.registry.hosts(name) }));
    const broker = this.options?.broker ?? null;
    return { application: this.application, broker, modules, messages: describedMessages(this.modules) };
  }

  private async stream(response: ServerResponse): Promise<void> {
    this.feed ??= this.makeFeed();
    const feed = await this.feed;
    if (feed.isFull || this.isClosed) throw new Conflict('Too many browsers watch this process: close one of them');
    const headers = { ...SECURITY_HEADERS, 'Content-Type': STREAM_TYPE, 'X-Accel-Buffering': 'no' };
    response.writeHead(200, headers);
    feed.add(response);
  }

  private async makeFeed(): Promise<ConsoleFeed> {
    const [{ ConsoleFeed }, { processFacts }] = await Promise.all([
      import('./console-feed.js'),
      import('./process-facts.js'),
    ]);
    const { application, registry, relay, work } = this;
    const facts = processFacts(application, registry.hosted, work.sql.dialect, relay.brokerState !== undefined);
    const own = `usvc://${application}/`;
    const senderOf = (source: string) => (source.startsWith(own) ? source.slice(own.length) : source);
    return new ConsoleFeed(work, relay, facts, senderOf);
  }
}
