import { MESSAGE_UNIT, type Consumer, type FailedMessage } from '../../src/infrastructure/delivery/delivery-worker.js';
import { claimDelivery, insertDeliveries, type Delivery } from '../../src/infrastructure/store/delivery-rows.js';
import { insertIntoOutbox } from '../../src/infrastructure/outbox/outbox.js';
import { continueTrace } from '../../src/infrastructure/observability/request-context.js';
import { DatabaseUnavailable, type Sql } from '../../src/infrastructure/persistence/sql.js';
import type { UnitOfWork } from '../../src/infrastructure/persistence/unit-of-work.js';
import type { TriggerManifest } from './manifests.js';
import { DeliveryFailed, DeliveryRefused, type Answer, type ErrorInfo, type Subscribers } from './subscribers.js';
import { accept, isEvent, read, Refused, toHttp, type StoredEvent } from './wire.js';

/** What the consumers of a broker share. */
export interface BrokerContext {
  readonly work: UnitOfWork;
  readonly subscribers: Subscribers;
  /** Of the ingress, to which replies go. */
  readonly url: () => string;
  readonly isStopping: () => boolean;
  /** Messages have been committed to the outbox. */
  readonly wake: () => void;
  readonly wakeConsumer: (name: string) => void;
}

/** Where a Trigger sends to: for a Service that nobody has told the place of, an `undefined` url. */
export interface Addresses {
  readonly subscriber: { readonly url?: string };
  /** None: what is given up is parked. */
  readonly deadLetterSink?: { readonly url?: string };
}

/** Cut off by ourselves: neither the subscriber's failure, nor a try that counts. The engine takes it for its database. */
export class BrokerStopping extends DatabaseUnavailable {}

/** As the engine knows it. */
export function consumerName({ namespace, name }: TriggerManifest): string {
  return `${namespace}/${name}`;
}

/**
 * The consumers that a Trigger is to our delivery engine: its subscriber, and its dead letter sink if it has one, to
 * which the first one gives what it gives up. What the sink doesn't take either is parked in `mesh_dead_letter`.
 */
export function consumersOf(trigger: TriggerManifest, addresses: Addresses, around: BrokerContext): Consumer[] {
  const name = consumerName(trigger);
  const { timeoutMs = 0, ...delivery } = trigger.delivery;
  // Knative spreads nothing.
  const policy = { ...delivery, timeoutMs, jitter: false };
  const post = (event: StoredEvent, to: keyof Addresses) => {
    const address = addresses[to]?.url ?? `http://${trigger[to]?.service}.${trigger.namespace}`;
    if (!addresses[to]?.url) throw unknownAddress(address);
    return send(address, event, to, trigger, around);
  };
  const subscriber: Consumer = {
    name,
    policy,
    deliver: async (delivery) => {
      const stored = delivery.event as StoredEvent;
      const answer = await post(stored, 'subscriber');
      const reply = replyIn(answer, stored, trigger.broker, around);
      return finishDelivery(around, delivery, `delivered to ${name}: ${answer.status}`, reply);
    },
  };
  if (!addresses.deadLetterSink) return [subscriber];
  const sink: Consumer = {
    name: `${name} dead letters`,
    policy,
    deliver: async (delivery) => {
      const { status } = await post(delivery.event as StoredEvent, 'deadLetterSink');
      return finishDelivery(around, delivery, `kept by the dead letter sink of ${name}: ${status}`);
    },
  };
  return [{ ...subscriber, deadLetter: (sql, letter) => moveToSink(sql, letter, sink.name, around) }, sink];
}

function unknownAddress(address: string): DeliveryFailed {
  const info = { destination: address, code: 500, body: `dispatch error: Post "${address}": no such host` };
  return new DeliveryFailed('nobody has said where it lives', info);
}

/** One try. @throws DeliveryFailed, DeliveryRefused */
async function send(
  url: string,
  event: StoredEvent,
  to: keyof Addresses,
  { namespace, delivery }: TriggerManifest,
  around: BrokerContext,
): Promise<Answer> {
  const { headers, body } = toHttp(event, to);
  headers['kn-namespace'] = namespace;
  headers.traceparent = continueTrace(headers.traceparent).replace(/..$/, '00');
  headers['user-agent'] = 'meshy-cabs-laptop-broker';
  if (to === 'subscriber') headers.prefer = 'reply';
  try {
    return await around.subscribers.post(url, { headers, body }, delivery.timeoutMs);
  } catch (error) {
    if (around.isStopping()) throw new BrokerStopping('The broker is stopping');
    throw error;
  }
}

/** A delivery and the reply that it brought are over and written down together, or not at all. */
async function finishDelivery(
  { work, wake }: BrokerContext,
  delivery: Delivery,
  outcome: string,
  reply?: StoredEvent,
): Promise<string> {
  return work.run(async () => {
    if (!(await claimDelivery(work.sql, delivery))) return 'taken';
    if (!reply) return outcome;
    await insertIntoOutbox(work.sql, [reply]);
    work.unit.afterCommit(wake);
    return `${outcome}, with a reply: ${reply.type}`;
  }, MESSAGE_UNIT);
}

/**
 * The reply as a new event of the broker. It inherits the time to live of what it replies to, whatever it says itself.
 * @throws DeliveryFailed when the answer is no event but not empty either, DeliveryRefused when the ingress refuses it
 */
function replyIn(
  answer: Answer,
  { knativebrokerttl, _mesh }: StoredEvent,
  broker: string,
  around: BrokerContext,
): StoredEvent | undefined {
  if (answer.body.length === 0 && !isEvent(answer)) return undefined;
  const headers = { traceparent: _mesh.headers.traceparent!, ...answer.headers };
  let reply: StoredEvent;
  try {
    if (!isEvent(answer)) throw new Refused(`no event in ${JSON.stringify(answer.body.toString('utf8', 0, 50))}`);
    reply = { ...read({ headers, body: answer.body }, broker), knativebrokerttl };
  } catch (error) {
    // A 502 of the filter, which doesn't tell the dead letter why.
    throw new DeliveryFailed(`${answer.status}, which a broker takes for 502: ${(error as Error).message}`);
  }
  try {
    return accept(reply);
  } catch (error) {
    const info = { destination: `${around.url()}/${broker}`, code: 400, body: '' };
    throw new DeliveryRefused(`its reply was refused: ${(error as Error).message}`, info);
  }
}

/** Hands a dead letter to the sink, in the unit of work that takes it from the subscriber. */
async function moveToSink(sql: Sql, { event, error }: FailedMessage, sink: string, around: BrokerContext): Promise<void> {
  const { info } = error as { info?: ErrorInfo };
  // What the event brings along of an earlier death stays: measured.
  await insertDeliveries(sql, [{ consumer: sink, event: { ...(info && errorAttributes(info)), ...event } }]);
  around.work.unit.afterCommit(() => around.wakeConsumer(sink));
}

/** Measured: 1,024 characters of Base64 at most. */
function errorAttributes({ destination, code, body }: ErrorInfo) {
  const knativeerrordata = Buffer.from(body).toString('base64').slice(0, 1024);
  return { knativeerrordest: destination, knativeerrorcode: String(code), knativeerrordata };
}
