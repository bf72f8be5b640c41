import { readFile } from 'node:fs/promises';
import type { IncomingMessage } from 'node:http';
import { join } from 'node:path';
import { Inject, Injectable } from '@nestjs/common';
import { z } from 'zod';
import { NotFound } from '../contracts/domain-errors.js';
import { HandlerRegistry } from '../contracts/handler-registry.js';
import { AdministrationGuard } from '../http/administration.js';
import { Unauthorized } from '../http/bearer-tokens.js';
import { endedSession, newSession, type AdministrationRole } from '../http/console-session.js';
import { meshRoute, type MeshRoute, type RouteGuard, type RouteInput } from '../http/mesh-route.js';
import { validated } from '../http/validation.js';
import { CONSOLE, type ConsoleOptions } from './console-options.js';

const FILES: Readonly<Record<string, string>> = {
  'app.js': 'text/javascript; charset=utf-8',
  'app.css': 'text/css; charset=utf-8',
  'icon.svg': 'image/svg+xml',
};
const PAGE_HEADERS = {
  'Content-Security-Policy':
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; " +
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
};

const signingIn = z.object({ token: z.string().max(1000) });

/** The page of the console, and the session of the browser that shows it. */
@Injectable()
export class ConsolePageRoutes {
  readonly routes: readonly MeshRoute[];
  /** Anyone may load the page: it asks for a token. */
  private readonly open: RouteGuard;

  constructor(
    @Inject(CONSOLE) private readonly options: ConsoleOptions | undefined,
    private readonly registry: HandlerRegistry,
    private readonly guard: AdministrationGuard,
  ) {
    this.open = { authorize: (request: IncomingMessage) => guard.assertAvailable(request) };
    this.routes = options ? [...this.pages(options), ...this.sessions()] : [];
  }

  private pages({ folder }: ConsoleOptions): MeshRoute[] {
    const page = (path: string, file: string, contentType: string) =>
      meshRoute({
        method: 'GET',
        path,
        summary: 'The console, for a browser',
        guard: this.open,
        isHidden: path !== '/mesh/console',
        contentType,
        headers: PAGE_HEADERS,
        handle: () => fileIn(folder, file),
      });
    return [
      page('/mesh/console', 'index.html', 'text/html; charset=utf-8'),
      ...Object.entries(FILES).map(([file, type]) => page(`/mesh/console/${file}`, file, type)),
    ];
  }

  private sessions(): MeshRoute[] {
    const common = { path: '/mesh/console/session', isHidden: true } as const;
    return [
      meshRoute({
        ...common,
        method: 'GET',
        summary: 'What the session may do',
        guard: this.guard,
        handle: async ({ request }) => this.session(this.guard.roleOf(request)),
      }),
      meshRoute({
        ...common,
        method: 'POST',
        summary: 'Exchanges a token for a session',
        guard: this.open,
        takesBody: true,
        handle: (input) => this.signIn(input),
      }),
      meshRoute({
        ...common,
        method: 'DELETE',
        summary: 'Ends the session',
        guard: this.open,
        status: 204,
        handle: async ({ request, response }) => void response.setHeader('Set-Cookie', endedSession(request)),
      }),
    ];
  }

  private async signIn({ request, response, body }: RouteInput<unknown, unknown>): Promise<object> {
    const { token } = await validated(signingIn, body);
    const role = this.guard.roleOfToken(token);
    if (!role) throw new Unauthorized('This is neither the administration token nor the one for reading');
    response.setHeader('Set-Cookie', newSession(request, role, token));
    return this.session(role);
  }

  private session(role: AdministrationRole): object {
    const { needsToken, administration } = this.guard;
    const { isDevelopment } = administration;
    const actions = isDevelopment ? (this.options?.actions ?? []).map(({ name, label }) => ({ name, label })) : [];
    return { role, isDevelopment, needsToken, consumers: this.registry.hosted, actions };
  }
}

async function fileIn(folder: string, file: string): Promise<string> {
  try {
    return await readFile(join(folder, file), 'utf8');
  } catch {
    throw new NotFound(`The console has no file ${file}: npm run build:console makes it`);
  }
}
