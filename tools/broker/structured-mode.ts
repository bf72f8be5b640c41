import { RefusedError } from '../errors.js';
import { assertAttributeName, attributeValue } from './attributes.js';
import { goInt32 } from './go-values.js';
import { membersOf, valueOf, withoutSpace, type Member } from './json-members.js';
import { asHeader } from './stored-event.js';

/* The structured mode of CloudEvents: attributes and data in one JSON object. */

/** An event as it was read: its attributes, and its data in the bytes that are forwarded. */
export interface EventParts {
  readonly attributes: Readonly<Record<string, string>>;
  readonly body: Buffer;
}

const STRINGS = ['specversion', 'id', 'source', 'type', 'subject', 'time', 'datacontenttype', 'dataschema'];

/** @throws RefusedError for a body that is no event */
export function parseStructured(body: Buffer): EventParts {
  const members = membersOf(body.toString('latin1'));
  assertReadable(members.map(([key]) => key));
  const attributes = new Map<string, string>();
  // Of members with equal keys the last one counts, but all of them must be valid.
  for (const [key, text] of members) {
    if (key === 'data' || key === 'data_base64') continue;
    const value = valueOf(text);
    const name = STRINGS.includes(key) ? key : key.toLowerCase();
    assertAttributeName(name);
    if (key === 'datacontenttype' && !value) throw new RefusedError('The datacontenttype is empty');
    const isDropped = value === null || (value === '' && ['subject', 'time', 'dataschema'].includes(key));
    const attribute = isDropped ? undefined : attributeValue(name, scalar(key, value), 'structured');
    if (attribute === undefined) attributes.delete(name);
    else attributes.set(name, attribute);
  }
  return { attributes: Object.fromEntries(attributes), body: dataOf(members, attributes.get('datacontenttype')) };
}

/** A real broker reads member by member, and refuses to change what it has used already (from its source code). */
function assertReadable(keys: readonly string[]): void {
  const version = keys.indexOf('specversion');
  if (version !== keys.lastIndexOf('specversion')) throw new RefusedError('There are two members specversion');
  const last = keys.lastIndexOf('datacontenttype');
  if (last > version && keys.indexOf('datacontenttype') !== last)
    throw new RefusedError('There are two members datacontenttype');
}

/** Numbers become 32-bit integers, as in a real broker: 1.5 becomes 1. */
function scalar(name: string, value: unknown): string {
  if (typeof value === 'string') {
    if (/[\0-\x08\x0a-\x1f\x7f]/.test(value))
      throw new RefusedError(`The ${name} has characters that no header can hold`);
    return asHeader(value);
  }
  if (STRINGS.includes(name)) throw new RefusedError(`The ${name} is no string`);
  if (typeof value === 'boolean') return String(value);
  const integer = typeof value === 'number' ? goInt32(String(value)) : undefined;
  if (integer === undefined) throw new RefusedError(`The ${name} is no string, boolean or 32-bit integer`);
  return String(integer);
}

/**
 * The bytes of the data. Measured: of `data` and `data_base64`, the one that comes last counts; JSON is forwarded as it is,
 * but without whitespace between its tokens.
 */
function dataOf(members: readonly Member[], contentType: string | undefined): Buffer {
  const [key, text] = members.findLast(([name]) => name === 'data' || name === 'data_base64') ?? [];
  if (text === undefined) return Buffer.alloc(0);
  if (key === 'data_base64') {
    const value = valueOf(text);
    if (typeof value !== 'string' || !/^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/.test(value)) {
      throw new RefusedError('The data_base64 is no Base64');
    }
    return Buffer.from(value, 'base64');
  }
  const type = contentType?.split(';')[0]!.trim().toLowerCase();
  if (type === undefined || ['application/json', 'text/json'].includes(type))
    return Buffer.from(withoutSpace(text), 'latin1');
  const value = valueOf(text);
  if (typeof value !== 'string') throw new RefusedError(`The data is no string, but the content type is ${type}`);
  return Buffer.from(value, 'utf8');
}
