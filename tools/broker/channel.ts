import type { StoredEvent } from './stored-event.js';

/** How a broker delivers: before it answers the publisher, or afterwards. */
export const CHANNEL_KINDS = ['synchronous', 'asynchronous'] as const;
export type ChannelKind = (typeof CHANNEL_KINDS)[number];

/** The part of a broker that delivers events to the Triggers. */
export interface Channel {
  /**
   * Resolves when the ingress may answer 202.
   * @param signal is aborted when the publisher hangs up or the broker stops
   * @throws DeliveryFailed or DeliveryRefused when the publisher has to post the event again
   */
  send(event: StoredEvent, signal: AbortSignal): Promise<void>;
}

/** The answers of an ingress that differ between the versions of Knative. */
export interface IngressAnswers {
  readonly version: '1.12.6' | '1.18.4';
  /** The status for a Broker that doesn't exist. */
  readonly unknownBroker: number;
  /** The status for a body that is incomplete, invalid or late. */
  readonly unreadableBody: number;
  /** Whether the header `K-Kubelet-Probe` makes a request a health check. */
  readonly hasKubeletProbe: boolean;
}

/** The recorded versions: 1.12 is the last one whose in-memory channel is asynchronous by default. */
export const ANSWERS: Readonly<Record<ChannelKind, IngressAnswers>> = {
  synchronous: { version: '1.18.4', unknownBroker: 404, unreadableBody: 500, hasKubeletProbe: false },
  asynchronous: { version: '1.12.6', unknownBroker: 400, unreadableBody: 400, hasKubeletProbe: true },
};
