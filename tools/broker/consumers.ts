import { MESSAGE_UNIT, type Consumer } from '../../src/infrastructure/delivery/consumer.js';
import type { FailedMessage } from '../../src/infrastructure/store/dead-letter-rows.js';
import { claimDelivery, insertDeliveries, type Delivery } from '../../src/infrastructure/store/delivery-rows.js';
import { insertIntoOutbox } from '../../src/infrastructure/store/outbox-rows.js';
import { continueTrace } from '../../src/infrastructure/observability/request-context.js';
import { DatabaseUnavailable, type Sql } from '../../src/infrastructure/persistence/sql.js';
import type { UnitOfWork } from '../../src/infrastructure/persistence/unit-of-work.js';
import { RefusedError } from '../errors.js';
import type { TriggerManifest } from './manifests.js';
import type { StoredEvent } from './stored-event.js';
import { DeliveryFailed, DeliveryRefused, type Answer, type ErrorInfo, type Subscribers } from './subscribers.js';
import { accept, isEvent, read, toHttp } from './wire.js';

/** What all consumers of one broker use. */
export interface BrokerContext {
  readonly work: UnitOfWork;
  readonly subscribers: Subscribers;
  /** The address of the ingress, to which replies go. */
  readonly url: () => string;
  readonly isStopping: () => boolean;
  /** To be called when messages have been committed to the outbox. */
  readonly wake: () => void;
  readonly wakeConsumer: (name: string) => void;
}

/** The addresses of a Trigger. `url` is undefined when the address of a Service is not known. */
export interface Addresses {
  readonly subscriber: { readonly url?: string };
  /** Without a sink, dead letters are parked in the broker. */
  readonly deadLetterSink?: { readonly url?: string };
}

/** The broker is stopping and aborts the request. As with an unavailable database, the attempt doesn't count. */
export class BrokerStopping extends DatabaseUnavailable {}

/** The name of the Trigger as a consumer of the delivery engine. */
export function consumerName({ namespace, name }: TriggerManifest): string {
  return `${namespace}/${name}`;
}

/**
 * The consumers of the delivery engine for one Trigger: its subscriber, and its dead letter sink, if any. Messages that
 * the subscriber fails to handle become deliveries of the sink. If the sink fails too, they are parked in
 * `mesh_dead_letter`.
 */
export function consumersOf(trigger: TriggerManifest, addresses: Addresses, context: BrokerContext): Consumer[] {
  const name = consumerName(trigger);
  const { timeoutMs = 0, ...delivery } = trigger.delivery;
  // Knative adds no jitter.
  const policy = { ...delivery, timeoutMs, jitter: false };
  const post = (event: StoredEvent, to: keyof Addresses) => {
    const address = addresses[to]?.url ?? `http://${trigger[to]?.service}.${trigger.namespace}`;
    if (!addresses[to]?.url) throw unknownAddress(address);
    return send(address, event, to, trigger, context);
  };
  const subscriber: Consumer = {
    name,
    policy,
    deliver: async (delivery) => {
      const stored = delivery.event as StoredEvent;
      const answer = await post(stored, 'subscriber');
      const reply = replyIn(answer, stored, trigger.broker, context);
      return finishDelivery(context, delivery, `delivered to ${name}: ${answer.status}`, reply);
    },
  };
  if (!addresses.deadLetterSink) return [subscriber];
  const sink: Consumer = {
    name: `${name} dead letters`,
    policy,
    deliver: async (delivery) => {
      const { status } = await post(delivery.event as StoredEvent, 'deadLetterSink');
      return finishDelivery(context, delivery, `kept by the dead letter sink of ${name}: ${status}`);
    },
  };
  return [{ ...subscriber, deadLetter: (sql, letter) => moveToSink(sql, letter, sink.name, context) }, sink];
}

function unknownAddress(address: string): DeliveryFailed {
  const info = { destination: address, code: 500, body: `dispatch error: Post "${address}": no such host` };
  return new DeliveryFailed('its address is unknown: pass --service NAME=URL', info);
}

/** Makes one attempt. @throws DeliveryFailed, DeliveryRefused */
async function send(
  url: string,
  event: StoredEvent,
  to: keyof Addresses,
  { namespace, delivery }: TriggerManifest,
  context: BrokerContext,
): Promise<Answer> {
  const { headers, body } = toHttp(event, to);
  headers['kn-namespace'] = namespace;
  headers.traceparent = continueTrace(headers.traceparent).replace(/..$/, '00');
  headers['user-agent'] = 'meshy-cabs-laptop-broker';
  if (to === 'subscriber') headers.prefer = 'reply';
  try {
    return await context.subscribers.post(url, { headers, body }, delivery.timeoutMs);
  } catch (error) {
    if (context.isStopping()) throw new BrokerStopping('The broker is stopping');
    throw error;
  }
}

/** Claims the delivery and stores its reply in one unit of work. */
async function finishDelivery(
  { work, wake }: BrokerContext,
  delivery: Delivery,
  outcome: string,
  reply?: StoredEvent,
): Promise<string> {
  return work.run(async () => {
    if (!(await claimDelivery(work.sql, delivery))) return 'lease-lost';
    if (!reply) return outcome;
    await insertIntoOutbox(work.sql, [reply]);
    work.unit.afterCommit(wake);
    return `${outcome}, with a reply: ${reply.type}`;
  }, MESSAGE_UNIT);
}

/**
 * The reply as a new event of the broker. Its time to live is always that of the event it replies to.
 * @throws DeliveryFailed when the answer has a body that is no event, DeliveryRefused when the ingress refuses the event
 */
function replyIn(
  answer: Answer,
  { knativebrokerttl, _mesh }: StoredEvent,
  broker: string,
  context: BrokerContext,
): StoredEvent | undefined {
  if (answer.body.length === 0 && !isEvent(answer)) return undefined;
  const headers = { traceparent: _mesh.headers.traceparent!, ...answer.headers };
  let reply: StoredEvent;
  try {
    if (!isEvent(answer)) throw new RefusedError(`no event in ${JSON.stringify(answer.body.toString('utf8', 0, 50))}`);
    reply = { ...read({ headers, body: answer.body }, broker), knativebrokerttl };
  } catch (error) {
    // The filter of a real broker answers 502 here; the dead letter has no reason.
    throw new DeliveryFailed(`${answer.status}, which a broker treats as 502: ${(error as Error).message}`);
  }
  try {
    return accept(reply);
  } catch (error) {
    const info = { destination: `${context.url()}/${broker}`, code: 400, body: '' };
    throw new DeliveryRefused(`its reply was refused: ${(error as Error).message}`, info);
  }
}

/** Turns a failed message into a delivery of the sink, in the unit of work that ends the subscriber's delivery. */
async function moveToSink(
  sql: Sql,
  { event, error }: FailedMessage,
  sink: string,
  context: BrokerContext,
): Promise<void> {
  const { info } = error as { info?: ErrorInfo };
  // Measured: error attributes that the event already has are kept.
  await insertDeliveries(sql, [{ consumer: sink, event: { ...(info && errorAttributes(info)), ...event } }]);
  context.work.unit.afterCommit(() => context.wakeConsumer(sink));
}

/** Measured: at most 1,024 characters of Base64. */
function errorAttributes({ destination, code, body }: ErrorInfo) {
  const knativeerrordata = Buffer.from(body).toString('base64').slice(0, 1024);
  return { knativeerrordest: destination, knativeerrorcode: String(code), knativeerrordata };
}
