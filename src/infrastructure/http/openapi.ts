import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { extname, join } from 'node:path';
import { HttpStatus, type INestApplication } from '@nestjs/common';
import type { NextFunction, Request, Response } from 'express';
import { z } from 'zod';
import { SWAGGER_KEYS } from '../contracts/package-metadata.js';
import { apiDocument, type AboutApi } from './api-document.js';
import { MeshListener } from './mesh-listener.js';
import { WAITS } from './prefer.js';

/**
 * Describes a route on the API page. Writes the metadata that @nestjs/swagger reads without loading that package, which
 * takes a few hundred ms that most processes never need.
 * @param reply `also`: statuses of problem documents; `waits`: whether the route knows `Prefer: wait`
 */
export function Operation(
  summary: string,
  reply?: { status?: number; body: z.ZodType; also?: number[]; waits?: boolean },
): MethodDecorator {
  return (_target, _name, descriptor) => {
    const method = descriptor.value as object;
    Reflect.defineMetadata(SWAGGER_KEYS.operation, { summary }, method);
    if (!reply) return;
    const { status = HttpStatus.OK, body, also = [], waits = false } = reply;
    if (waits) Reflect.defineMetadata(WAITS, true, method);
    const described = {
      description: summary,
      // Made when the API page is asked for: the schemas of all routes take 30 ms.
      get schema() {
        return z.toJSONSchema(body, { target: 'openapi-3.0', io: 'output', unrepresentable: 'any' });
      },
    };
    const responses: Record<number, object> = { [status]: described };
    for (const other of also) responses[other] = { description: 'problem document (RFC 9457)' };
    Reflect.defineMetadata(SWAGGER_KEYS.response, responses, method);
  };
}

/** Puts the routes of a controller into a section of the API page: `ApiTags` of @nestjs/swagger without loading that package. */
export function ApiSection(title: string): ClassDecorator {
  return (controller) => Reflect.defineMetadata(SWAGGER_KEYS.tags, [title], controller);
}

const SCRIPT = "SwaggerUIBundle({ url: '/api-json', dom_id: '#page', deepLinking: true });";
/** What the API page may load: its own files. Swagger UI sets styles, and has images in its style sheet. */
const PAGE_POLICY = [
  "default-src 'self'",
  `script-src 'self' 'sha256-${createHash('sha256').update(SCRIPT).digest('base64')}'`,
  "style-src 'self' 'unsafe-inline'",
  "img-src 'self' data:",
  "frame-ancestors 'none'",
].join('; ');

/** The files of Swagger UI that the API page loads. */
const ASSETS = ['swagger-ui.css', 'swagger-ui-bundle.js', 'favicon-32x32.png'];

/**
 * Serves the API page at `/api` and its document at `/api-json`, from memory; both are made for the first request. Where the
 * mesh has a port of its own, the page is served on the public port only and leaves out the routes of the mesh. Where REST
 * needs tokens, the page itself needs none: it holds no data, and lets its reader enter a token.
 */
export function serveApiPage(app: INestApplication, page: string | AboutApi): void {
  const about = typeof page === 'string' ? { title: page } : page;
  const listener = app.get(MeshListener);
  const bodies = new Map<string, Promise<Buffer>>();
  const makers = new Map([
    ['/api-json', async () => Buffer.from(JSON.stringify(await apiDocument(app, about, listener.isSeparate)))],
    ['/api', async () => Buffer.from(html(about.title))],
    ...ASSETS.map((file): [string, () => Promise<Buffer>] => [`/api/${file}`, () => asset(file)]),
  ]);
  app.use((request: Request, response: Response, next: NextFunction) => {
    const path = request.path.replace(/^\/api\/$/, '/api');
    const make = makers.get(path);
    const isRead = request.method === 'GET' || request.method === 'HEAD';
    if (!make) return next();
    if (!isRead) {
      response.setHeader('Allow', 'GET, HEAD');
      return next(Object.assign(new Error(`Cannot ${request.method} ${request.path}`), { status: 405 }));
    }
    response.setHeader('Content-Security-Policy', PAGE_POLICY);
    response.setHeader('Cache-Control', 'no-cache');
    const body = bodies.get(path) ?? make();
    bodies.set(path, body);
    const type = path === '/api' ? 'html' : path === '/api-json' ? 'json' : extname(path);
    body.then((it) => response.type(type).send(it), next);
  });
}

async function asset(file: string): Promise<Buffer> {
  // @ts-expect-error -- the package has no types for this file
  const module = (await import('swagger-ui-dist/absolute-path.js')) as { default: () => string };
  return readFile(join(module.default(), file));
}

function html(title: string): string {
  return `<!doctype html>
<html lang="en">
  <head>
    <meta charset="utf-8" />
    <title>${title}</title>
    <link rel="stylesheet" href="/api/swagger-ui.css" />
    <link rel="icon" href="/api/favicon-32x32.png" />
  </head>
  <body>
    <div id="page"></div>
    <script src="/api/swagger-ui-bundle.js"></script>
    <script>${SCRIPT}</script>
  </body>
</html>`;
}
