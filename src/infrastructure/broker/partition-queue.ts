import type { CloudEvent } from '../cloudevents/cloud-event.js';
import type { SqlValue } from '../persistence/sql.js';
import type { Rejection } from './broker-health.js';

/** A message that waits to be published. */
export interface PublishedMessage extends Rejection {
  readonly seq: SqlValue;
  readonly type: string;
  /** Undefined while the message waits for a retry: it is read again. */
  event: CloudEvent | undefined;
  attempts: number;
}

/** The loaded messages of one partition key that share an order. Only the first may be in flight. */
export interface PartitionQueue {
  readonly name: string;
  /** The consumers of its messages, as a name. */
  readonly group: string;
  /** The lease under which the messages were loaded, where replicas share the work. */
  readonly shard?: number;
  readonly token?: number;
  readonly messages: PublishedMessage[];
  /** Nothing is sent before this time, on the clock of `performance.now()`. */
  notBefore: number;
  isFailing: boolean;
}
