/*
 * Metadata keys that other packages use for what their decorators say, and don't export.
 * test/architecture/package-metadata.spec.ts fails when an installed version uses other keys.
 */

/** Keys of `@nestjs/cqrs`: the value is the message class, for events a list of classes. */
export const CQRS_KEYS = {
  command: '__commandHandler__',
  event: '__eventsHandler__',
  query: '__queryHandler__',
  saga: '__saga__',
} as const;

/** Keys of `@nestjs/common`: imports and providers on a module class, path and method on the method of a route. */
export const NEST_KEYS = { imports: 'imports', providers: 'providers', path: 'path', method: 'method' } as const;

/** Keys of `@nestjs/swagger`: operation and response on the method of a route, tags on a controller class. */
export const SWAGGER_KEYS = {
  operation: 'swagger/apiOperation',
  response: 'swagger/apiResponse',
  tags: 'swagger/apiUseTags',
} as const;
