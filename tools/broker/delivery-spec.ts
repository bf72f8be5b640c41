import { goPeriodMs } from './go-values.js';
import { NotSupported, oneLine, type DeliverySpec, type Reference } from './manifest-schema.js';

/* Reads addresses and delivery specs, the parts that Brokers and Triggers have in common. */

/** An address, or a Service whose address is passed by `--service`. */
export interface Destination {
  readonly service?: string;
  /** Absolute without a service, otherwise relative to the service. */
  readonly uri?: string;
}

/** A delivery spec, in ms. */
export interface Delivery {
  readonly retry: number;
  readonly backoffPolicy: 'linear' | 'exponential';
  /** 0 for immediate retries: the policy or the delay is missing. */
  readonly backoffDelayMs: number;
  readonly timeoutMs?: number;
  /** 0 when `Retry-After` is ignored. */
  readonly retryAfterMaxMs: number;
}

/**
 * @param role what the address is for, as it is shown in messages
 * @throws NotSupported for an object other than a Service, such as a Sequence
 * @throws Error for an address that Kubernetes or Knative would refuse
 */
export function destination({ ref, uri }: Reference, role: string): Destination {
  if (!ref) {
    if (!uri || !URL.canParse(uri)) throw new Error(`a ${role} without ref needs an absolute uri`);
    return { uri };
  }
  const { kind, name, apiVersion } = ref;
  if (!kind) throw new Error(`the ref of the ${role} has no kind`);
  if (!name) throw new Error(`the ref of the ${role} has no name`);
  if (kind !== 'Service') {
    const version = apiVersion ? ` (${oneLine(apiVersion)})` : '';
    throw new NotSupported(
      `its ${role} is the ${oneLine(kind)} ${oneLine(name)}${version}, but the laptop broker delivers only to a Service or a uri`,
    );
  }
  return { service: name, ...(uri && { uri }) };
}

/** @throws Error that names the field, for a value that Knative would refuse */
export function deliveryOf(spec: DeliverySpec): Delivery {
  const { retry = 0, backoffPolicy, backoffDelay, timeout, retryAfterMax } = spec;
  if (!Number.isInteger(retry) || retry < 0) throw new Error(`retry: ${retry} is no integer of at least 0`);
  if (backoffPolicy && !['linear', 'exponential'].includes(backoffPolicy))
    throw new Error(`backoffPolicy: ${oneLine(backoffPolicy)} is neither linear nor exponential`);
  const hasBackoff = backoffPolicy !== undefined && backoffDelay !== undefined;
  return {
    retry,
    backoffPolicy: backoffPolicy === 'exponential' ? 'exponential' : 'linear',
    backoffDelayMs: hasBackoff ? period('backoffDelay', backoffDelay) : 0,
    ...(timeout && period('timeout', timeout) > 0 && { timeoutMs: period('timeout', timeout) }),
    retryAfterMaxMs: retryAfterMax ? period('retryAfterMax', retryAfterMax) : 0,
  };
}

function period(name: string, text: string): number {
  const ms = goPeriodMs(text);
  if (ms === undefined) throw new Error(`${name}: ${oneLine(text)} is no ISO 8601 duration such as PT0.2S`);
  return ms;
}
