import { RequestMethod, type Type } from '@nestjs/common';
import { meshFeatureOf } from '../../src/infrastructure/contracts/mesh-feature.js';

/** A method and a path as Nest writes it: `/orders/:id`. */
export interface Route {
  readonly method: string;
  readonly path: string;
}

export interface ModuleRoute extends Route {
  readonly module: string;
}

/**
 * The routes of all controllers of the modules, read from Nest's decorators.
 * @throws Error for a path with anything but names and parameters
 */
export function routesOf(modules: readonly Type[]): ModuleRoute[] {
  return modules.flatMap((module) => {
    const { name } = meshFeatureOf(module);
    const controllers = (Reflect.getMetadata('controllers', module) ?? []) as Type[];
    return controllers.flatMap(routesOfController).map((route) => ({ ...route, module: name }));
  });
}

function routesOfController(controller: Type): Route[] {
  const prototype = controller.prototype as Record<string, unknown>;
  return Object.getOwnPropertyNames(prototype).flatMap((name) => {
    const handler = Object.getOwnPropertyDescriptor(prototype, name)!.value as object | undefined;
    const method = handler && (Reflect.getMetadata('method', handler) as RequestMethod | undefined);
    if (!handler || method === undefined) return [];
    const paths = pathsOf(controller).flatMap((prefix) => pathsOf(handler).map((path) => join(prefix, path)));
    return paths.map((path) => ({ method: RequestMethod[method], path }));
  });
}

/** The paths of a decorator. */
function pathsOf(decorated: object): string[] {
  return [Reflect.getMetadata('path', decorated) as string | string[]].flat();
}

function join(...parts: string[]): string {
  const path = `/${parts.flatMap((part) => part.split('/').filter(Boolean)).join('/')}`;
  if (!/^[\w/:.-]*$/.test(path))
    throw new Error(`Unsupported path ${path}: the gateway supports names and parameters only`);
  return path;
}

export interface Found<R> {
  readonly route: R;
  /** Values as in the path, not decoded. */
  readonly parameters: Readonly<Record<string, string>>;
}

/** Finds routes as Express does: ignoring case and a trailing slash. A name takes precedence over a parameter. */
export class RouteTable<R extends Route> {
  private readonly entries: readonly { route: R; pattern: RegExp }[];

  constructor(routes: readonly R[]) {
    // Names rank as '0' and parameters as '1', so names come first.
    const rank = ({ path }: R) => path.replace(/\/(:?)[^/]+/g, (_, colon) => (colon ? '1' : '0'));
    const ranked = [...routes].sort((a, b) => rank(a).localeCompare(rank(b)));
    this.entries = ranked.map((route) => ({ route, pattern: patternOf(route.path) }));
  }

  /** The route of a request. A GET route also answers HEAD. */
  find(method: string, path: string): Found<R> | undefined {
    const wanted = ['ALL', method === 'HEAD' ? 'GET' : method];
    return this.matching(path).find(({ route }) => wanted.includes(route.method));
  }

  /** The route of a path for any method. */
  findPath(path: string): Found<R> | undefined {
    return this.matching(path)[0];
  }

  /** The methods of a path, sorted. */
  methods(path: string): string[] {
    const methods = this.matching(path).flatMap(({ route: { method } }) =>
      method === 'GET' ? ['GET', 'HEAD'] : method,
    );
    return [...new Set(methods)].sort();
  }

  private matching(path: string): Found<R>[] {
    return this.entries.flatMap(({ route, pattern }) => {
      const match = pattern.exec(path);
      return match ? [{ route, parameters: { ...match.groups } }] : [];
    });
  }
}

function patternOf(path: string): RegExp {
  const escaped = path.replaceAll('.', '\\.').replace(/:(\w+)/g, '(?<$1>[^/]+)');
  return new RegExp(`^${escaped.replace(/\/$/, '')}/?$`, 'i');
}
