import type { INestApplication, Type } from '@nestjs/common';
import { MetadataScanner, ModulesContainer, Reflector } from '@nestjs/core';
import { IDEMPOTENT } from './idempotency.js';
import { meshPaths } from './mesh-operations.js';
import { MESH_ROUTES, type MeshRoute } from './mesh-route.js';
import { WAITS } from './prefer.js';
import { needsToken, REST_TOKENS, type Handler, type RestTokens } from './rest-tokens.guard.js';

/** What the API page says of an application. */
export interface AboutApi {
  readonly title: string;
  /** In Markdown. */
  readonly description?: string;
  readonly version?: string;
  /** Bodies by method and path, such as `POST /orders/{id}/items`. */
  readonly bodies?: Readonly<Record<string, object>>;
  /** Values of parameters, by the first part of the path, such as `/orders`, and by their name. */
  readonly parameters?: Readonly<Record<string, Readonly<Record<string, string | number>>>>;
}

interface Operation {
  readonly operationId?: string;
  parameters?: object[];
  requestBody?: { readonly content: Record<string, { example?: object }> };
  security?: object[];
}

interface Parameter {
  readonly name: string;
  readonly in: string;
  example?: unknown;
}

type Paths = Record<string, Record<string, Operation>>;

const HEADERS = {
  idempotencyKey: {
    name: 'Idempotency-Key',
    in: 'header',
    required: false,
    description: 'Makes it safe to repeat the request: the same key has one effect, and the same answer, for 24 hours.',
    schema: { type: 'string', maxLength: 200 },
  },
  prefer: {
    name: 'Prefer',
    in: 'header',
    required: false,
    description: 'wait=5 waits up to 5 seconds for the outcome, at most 10 (RFC 7240).',
    schema: { type: 'string' },
  },
};

/** The OpenAPI document of an application: its controllers, then the routes of the mesh. @param isSeparate leaves out the latter */
export async function apiDocument(app: INestApplication, about: AboutApi, isSeparate: boolean): Promise<object> {
  const { DocumentBuilder, SwaggerModule } = await import('@nestjs/swagger');
  const { title, description = '', version = '' } = about;
  const builder = new DocumentBuilder().setTitle(title).setDescription(description).setVersion(version);
  const hasTokens = app.get<RestTokens | undefined>(REST_TOKENS) !== undefined;
  if (hasTokens) builder.addBearerAuth().addSecurityRequirements('bearer');
  const made = SwaggerModule.createDocument(app, builder.build());
  const paths = made.paths as Paths;
  const handlers = handlersById(app);
  const reflector = app.get(Reflector);
  for (const [path, operations] of Object.entries(paths)) {
    for (const [method, operation] of Object.entries(operations)) {
      const found = handlers.get(operation.operationId);
      if (!found) continue;
      if (hasTokens && !needsToken(reflector, found.handler, found.controller)) operation.security = [];
      addHeaders(operation, reflector, found.handler);
      addExamples(operation, `${method.toUpperCase()} ${path}`, about);
    }
  }
  const shown = app.get<readonly MeshRoute[]>(MESH_ROUTES).filter(({ isPublic }) => isPublic || !isSeparate);
  return { ...made, paths: { ...paths, ...meshPaths(shown) } };
}

function addHeaders(operation: Operation, reflector: Reflector, handler: Handler): void {
  const headers = [
    ...(reflector.get(IDEMPOTENT, handler) ? [HEADERS.idempotencyKey] : []),
    ...(reflector.get(WAITS, handler) ? [HEADERS.prefer] : []),
  ];
  operation.parameters = [...(operation.parameters ?? []), ...headers];
}

function addExamples(operation: Operation, route: string, { bodies = {}, parameters = {} }: AboutApi): void {
  const example = bodies[route];
  for (const content of Object.values(operation.requestBody?.content ?? {})) if (example) content.example = example;
  const [, first = ''] = / (\/[^/]*)/.exec(route) ?? [];
  for (const parameter of (operation.parameters ?? []) as Parameter[]) {
    const value = parameters[first]?.[parameter.name];
    if (value !== undefined) parameter.example = value;
  }
}

/** The methods of all controllers, by the ids that @nestjs/swagger gives to their operations. */
function handlersById(app: INestApplication): Map<string | undefined, { handler: Handler; controller: Type }> {
  const controllers = [...app.get(ModulesContainer).values()].flatMap((it) => [...it.controllers.values()]);
  const found = new Map<string | undefined, { handler: Handler; controller: Type }>();
  for (const { metatype } of controllers) {
    const controller = metatype as Type;
    const methods = controller.prototype as Record<string, Handler>;
    for (const name of new MetadataScanner().getAllMethodNames(methods))
      found.set(`${controller.name}_${name}`, { handler: methods[name]!, controller });
  }
  return found;
}
