/* What an HTTP status means to a sender of events. */

export function isSuccess(status: number): boolean {
  return status >= 200 && status < 300;
}

/**
 * Whether a Knative dispatcher retries after this status (measured on Knative Eventing 1.12.6 and 1.18.4). A consumer that
 * wants no retry must answer with another one.
 */
export function isRetriedByKnative(status: number): boolean {
  return status >= 500 || [404, 408, 409, 429].includes(status);
}

/**
 * Whether the publisher sends an event again for as long as it takes: the broker may not exist yet, may not know our
 * token yet (401, 403), may be overloaded (425, 429) or down.
 */
export function isBrokerUnavailable(status: number): boolean {
  return status >= 500 || [401, 403, 404, 408, 409, 425, 429].includes(status);
}

/** Whether a broker will never take this event: it is too large, no media type, or not processable. */
export function isEventRefused(status: number): boolean {
  return [413, 415, 422].includes(status);
}

/** Whether the broker takes nothing from this process, or nothing at this address: 404 from Knative 1.13 on. */
export function isSenderRefused(status: number): boolean {
  return [401, 403, 404].includes(status);
}
