/* The entry `./knative`: a Broker for tests and laptops, and manifests for a cluster. */

export { startBroker, type Broker, type BrokerOptions } from '../tools/broker/broker.js';
export { eventingManifests, type Place } from '../tools/eventing.js';
