import type { Registry } from 'prom-client';

type PromClient = typeof import('prom-client');

/** From a millisecond to an hour: a message may wait for a broker. */
const SECONDS = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 3600];
const UNITS = [1, 2, 4, 8, 16, 32, 64, 128, 256];

let ofProcess: Registry | undefined;

/** The metrics of Node, made once: they observe the process until it ends. */
export function processMetrics({ collectDefaultMetrics, Registry: Metrics }: PromClient): Registry {
  if (!ofProcess) collectDefaultMetrics({ register: (ofProcess = new Metrics()) });
  return ofProcess;
}

/** The figures that are counted while things happen. Labels have few values: types of contracts, never ids. */
export function countedMetrics({ Counter, Histogram }: PromClient, registry: Registry) {
  const counter = <Label extends string>(name: string, help: string, ...labelNames: Label[]) =>
    new Counter({ name: `mesh_${name}_total`, help, labelNames, registers: [registry] });
  const histogram = <Label extends string>(name: string, help: string, buckets: number[], ...labelNames: Label[]) =>
    new Histogram({ name: `mesh_${name}`, help, buckets, labelNames, registers: [registry] });
  return {
    added: counter('messages_added', 'Messages added to transactions, also to those that were rolled back', 'type'),
    handled: counter(
      'messages_handled',
      'Attempts that ended without an error: handled, duplicate, performed, forwarded, lease-lost',
      'consumer',
      'type',
      'outcome',
    ),
    failed: counter('attempts_failed', 'Attempts that ended with an error of the message', 'consumer', 'type'),
    deadLettered: counter('messages_dead_lettered', 'Messages that became dead letters here', 'consumer', 'type'),
    published: counter('messages_published', 'Requests to the broker, by what became of them', 'type', 'outcome'),
    queries: counter('queries', 'Queries of contracts', 'type', 'outcome'),
    reconciliations: counter('reconciliation_runs', 'Ended runs of reconcile loops', 'module', 'outcome'),
    discrepancies: counter('reconciliation_discrepancies', 'What reconcile loops found missing', 'module'),
    repairs: counter('reconciliation_repairs', 'Messages that reconcile loops sent again', 'module'),
    requests: counter('http_requests', 'Answered requests', 'part', 'method', 'status'),
    handleSeconds: histogram('handle_duration_seconds', 'Runs of handlers', SECONDS, 'consumer', 'type'),
    endToEndSeconds: histogram(
      'end_to_end_duration_seconds',
      'From the creation of a message until it was handled',
      SECONDS,
      'consumer',
      'type',
    ),
    publishSeconds: histogram('publish_duration_seconds', 'Requests to the broker', SECONDS),
    querySeconds: histogram('query_duration_seconds', 'Queries of contracts', SECONDS, 'type'),
    commitSeconds: histogram('commit_duration_seconds', 'COMMITs of units of work', SECONDS),
    transactionUnits: histogram('transaction_units', 'Units of work that shared a COMMIT', UNITS),
    requestSeconds: histogram('http_request_duration_seconds', 'Answered requests', SECONDS, 'part', 'method'),
  };
}

/** The figures that are read from the database and from the relay when they are asked for. */
export function currentMetrics({ Gauge }: PromClient, registry: Registry) {
  const gauge = <Label extends string>(name: string, help: string, ...labelNames: Label[]) =>
    new Gauge({ name: `mesh_${name}`, help, labelNames, registers: [registry] });
  return {
    pending: gauge('pending', 'Messages in the outbox and deliveries that are not handled yet'),
    ready: gauge('ready', 'Pending messages that do not wait for a retry'),
    retrying: gauge('retrying', 'Deliveries that wait for a retry'),
    deadLetters: gauge('dead_letters', 'Dead letters'),
    lagSeconds: gauge('lag_seconds', 'Age of the oldest ready message'),
    consumerPending: gauge('consumer_pending', 'Pending deliveries', 'consumer'),
    backlogSeconds: gauge('backlog_seconds', 'How long the messages have waited that this process could handle now'),
    leasesHeld: gauge('leases_held', 'Shards that this process holds, of 32', 'resource'),
    waitingRequests: gauge('publisher_waiting_requests', 'Requests that the broker has not answered for a while'),
    isRefused: gauge('publisher_refused', '1 while the broker refuses this process'),
    isUnreachable: gauge('publisher_unreachable', '1 while the broker does not answer'),
    oldSnapshotSeconds: gauge('old_snapshot_seconds', 'Age of an old transaction that holds up the clean-up of rows'),
  };
}

export type CountedMetrics = ReturnType<typeof countedMetrics>;
export type CurrentMetrics = ReturnType<typeof currentMetrics>;
