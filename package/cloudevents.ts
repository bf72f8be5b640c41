/* The entry `./cloudevents`: CloudEvents over HTTP, checked as the specification says, without Nest. */

export { MalformedEvent } from '../src/infrastructure/cloudevents/attributes.js';
export { extension, type CloudEvent } from '../src/infrastructure/cloudevents/cloud-event.js';
export { HTTP, toBatch, type OutgoingMessage } from '../src/infrastructure/cloudevents/http-binding.js';
export { BATCHED, STRUCTURED, toEvents, type HttpMessage } from '../src/infrastructure/cloudevents/http-parser.js';
export { fromWire, toWire } from '../src/infrastructure/cloudevents/mapping.js';
