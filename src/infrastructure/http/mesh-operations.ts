import { z } from 'zod';
import type { MeshRoute } from './mesh-route.js';

/** The routes of the mesh as paths of an OpenAPI document. */
export function meshPaths(routes: readonly MeshRoute[]): Record<string, object> {
  const paths: Record<string, Record<string, object>> = {};
  for (const route of routes.filter(({ isHidden }) => !isHidden)) {
    const path = route.path.replace(/:(\w+)/g, '{$1}');
    paths[path] = { ...paths[path], [route.method.toLowerCase()]: operationOf(route) };
  }
  return paths;
}

function operationOf({ method, path, summary, status = 200, params, query, isPublic }: MeshRoute): object {
  return {
    operationId: `${method.toLowerCase()}${path.replace(/[/:-]+(\w)/g, (_, letter: string) => letter.toUpperCase())}`,
    summary,
    tags: [isPublic ? 'Health' : 'Mesh'],
    parameters: [...parametersIn('path', params), ...parametersIn('query', query)],
    responses: { [status]: { description: summary } },
    // The mesh doesn't take the tokens of REST.
    security: [],
  };
}

function parametersIn(place: 'path' | 'query', schema?: z.ZodType): object[] {
  if (!schema) return [];
  const json = z.toJSONSchema(schema, { target: 'openapi-3.0', io: 'input', unrepresentable: 'any' });
  const { properties = {}, required = [] } = json as { properties?: Record<string, object>; required?: string[] };
  return Object.entries(properties).map(([name, property]) => ({
    name,
    in: place,
    required: place === 'path' || required.includes(name),
    schema: property,
  }));
}
