import type { IncomingMessage } from 'node:http';
import { z } from 'zod';
import { uuidParameter } from '../../src/infrastructure/contracts/schemas.js';
import { listing, replaying, replayingAll } from '../../src/infrastructure/dead-letters/dead-letter-parameters.js';
import { knownParameters } from '../../src/infrastructure/http/strict-request.js';
import { validated } from '../../src/infrastructure/http/validation.js';

/*
 * The requests of the broker's administration. It refuses the same values as the application: a value that is ignored
 * would let a replay of some dead letters act on all.
 */

const NONE = z.object({});

/** `dead-letters/replay` concerns all dead letters; it is no dead letter with the id `replay`. */
const PATH = /^\/mesh\/(outbox|dead-letters(?:\/replay$)?)(?:\/([\w-]+)(\/replay)?)?$/;

/** The query parameters of each route. `force` is without effect: dead letters of any age are replayed. */
const PARAMETERS = {
  'GET outbox': NONE,
  'GET dead-letters': listing,
  'GET dead-letters/id': NONE,
  'POST dead-letters/replay': replayingAll,
  'POST dead-letters/id/replay': replaying,
  'DELETE dead-letters/id': NONE,
};

type Route = keyof typeof PARAMETERS;
export type Listing = z.infer<typeof listing>;

/** A valid request, by its route. */
export type AdministrationRequest =
  | { readonly route: 'GET outbox' }
  | { readonly route: 'GET dead-letters'; readonly query: Listing }
  | { readonly route: 'POST dead-letters/replay'; readonly query: z.infer<typeof replayingAll> }
  | {
      readonly route: 'GET dead-letters/id' | 'POST dead-letters/id/replay' | 'DELETE dead-letters/id';
      readonly id: string;
    };

/**
 * Reads a request for the administration.
 * @returns undefined for a request to any other path
 * @throws ValidationFailed for an unknown parameter, an invalid value or a body
 */
export async function administrationRequest(request: IncomingMessage): Promise<AdministrationRequest | undefined> {
  const [, pathname = '', search = ''] = /^([^?]*)\??(.*)$/s.exec(request.url ?? '') ?? [];
  const [, path, id, suffix = ''] = PATH.exec(pathname) ?? [];
  const route = `${request.method} ${path}${id === undefined ? '' : `/id${suffix}`}`;
  if (!isRoute(route)) return undefined;
  const schema = PARAMETERS[route];
  const parameters = knownParameters(request, search, Object.keys(schema.shape));
  const given = id === undefined ? {} : await validated(uuidParameter, { id });
  const query = await validated<object>(schema, parameters);
  return { route, ...given, query } as AdministrationRequest;
}

function isRoute(text: string): text is Route {
  return Object.hasOwn(PARAMETERS, text);
}
