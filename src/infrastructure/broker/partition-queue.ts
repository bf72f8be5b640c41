import type { CloudEvent } from '../cloudevents/cloud-event.js';
import type { SqlValue } from '../persistence/sql.js';
import type { Rejection } from './broker-health.js';

/** A message that waits to be published. */
export interface PublishedMessage extends Rejection {
  readonly seq: SqlValue;
  readonly type: string;
  /** The consumers of the message, as a name. Events of one queue may have different ones. */
  readonly group: string;
  /** Undefined while the message waits for a retry: it is read again. */
  event: CloudEvent | undefined;
  attempts: number;
}

/** The loaded messages of one partition key that share an order. Only the first may be in flight. */
export interface PartitionQueue {
  readonly name: string;
  /** The group that all its messages count for: that of the message which opened the queue, which they wait behind. */
  readonly group: string;
  /** The lease under which the messages were loaded, where replicas share the work. */
  readonly shard?: number;
  readonly token?: number;
  readonly messages: PublishedMessage[];
  /** Nothing is sent before this time, on the clock of `performance.now()`. */
  notBefore: number;
  isFailing: boolean;
}
