import { RefusedError } from '../errors.js';
import { goTime, goUri } from './go-values.js';

/* Names and values of attributes, checked and normalised as a real broker does it. */

/** @throws RefusedError for a name that no attribute can have */
export function assertAttributeName(name: string): void {
  if (!/^[a-z0-9]+$/.test(name)) throw new RefusedError(`Invalid attribute name ${name}: expected a-z and 0-9`);
}

/**
 * @returns the value as the broker forwards it, undefined when the attribute is dropped
 * @throws RefusedError for an invalid value
 */
export function attributeValue(name: string, value: string, mode: 'binary' | 'structured'): string | undefined {
  if (name === 'source' || name === 'schemaurl') {
    const uri = value === '' ? undefined : goUri(value);
    if (name === 'source' && !uri) throw new RefusedError('The source is no URI reference');
    return uri?.text;
  }
  if (name === 'dataschema') {
    const uri = goUri(value);
    // Measured: in structured mode a schema that is no URI is dropped, but a relative URI is refused.
    if (!uri && mode === 'structured') return undefined;
    if (!uri?.isAbsolute) throw new RefusedError('The dataschema is no absolute URI');
    return uri.text;
  }
  if (name === 'time') {
    const time = goTime(value);
    if (time === undefined) throw new RefusedError('The time is no RFC 3339 timestamp');
    return time;
  }
  return value;
}
