/* The entry `./http`: conventions for REST on Express, with `http: 'whole'`. */

export * from '../src/infrastructure/contracts/domain-errors.js';
export { idParameter, moment, paging, text, uuidParameter } from '../src/infrastructure/contracts/schemas.js';
export { Admission } from '../src/infrastructure/http/admission.js';
export { configureHttp } from '../src/infrastructure/http/configure-http.js';
export { BACKLOG } from '../src/infrastructure/http/configure-server.js';
export { Idempotent, type PresentState } from '../src/infrastructure/http/idempotency.js';
export { Location } from '../src/infrastructure/http/location.js';
export type { AboutApi } from '../src/infrastructure/http/api-document.js';
export { ApiSection, Operation, serveApiPage } from '../src/infrastructure/http/openapi.js';
export { preferredWaitMs } from '../src/infrastructure/http/prefer.js';
export { problemOf, type Problem } from '../src/infrastructure/http/problem.js';
export { ProblemFilter } from '../src/infrastructure/http/problem.filter.js';
export { WithoutToken } from '../src/infrastructure/http/rest-tokens.guard.js';
export { SchemaPipe } from '../src/infrastructure/http/validation.js';
