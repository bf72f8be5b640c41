import { RefusedError } from '../errors.js';
import { assertAttributeName, attributeValue } from './attributes.js';
import { goInt32 } from './go-values.js';
import { asHeader } from './stored-event.js';

/* The structured mode of CloudEvents: attributes and data in one JSON object. */

const STRINGS = ['specversion', 'id', 'source', 'type', 'subject', 'time', 'datacontenttype', 'dataschema'];

/** @returns attributes and data. @throws RefusedError for a body that is no event */
export function parseStructured(body: Buffer): Record<string, unknown> {
  const members = parseObject(body);
  const attributes: Record<string, unknown> = {};
  for (const [key, value] of Object.entries(members)) {
    if (key === 'data' || key === 'data_base64') continue;
    const name = STRINGS.includes(key) ? key : key.toLowerCase();
    assertAttributeName(name);
    if (key === 'datacontenttype' && !value) throw new RefusedError('The datacontenttype is empty');
    const isDropped = value === null || (value === '' && ['subject', 'time', 'dataschema'].includes(key));
    const text = isDropped ? undefined : attributeValue(name, scalar(key, value), 'structured');
    if (text !== undefined) attributes[name] = text;
  }
  return { ...attributes, ...dataOf(members, attributes.datacontenttype as string | undefined) };
}

function parseObject(body: Buffer): Record<string, unknown> {
  let json: unknown;
  try {
    json = JSON.parse(body.toString('utf8'));
  } catch {
    throw new RefusedError('The body is no JSON');
  }
  if (typeof json !== 'object' || json === null || Array.isArray(json)) {
    throw new RefusedError('The body is no JSON object');
  }
  return json as Record<string, unknown>;
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

/** Measured: of `data` and `data_base64`, the one that comes last counts. */
function dataOf(members: Record<string, unknown>, contentType: string | undefined) {
  const last = Object.keys(members).findLast((key) => key === 'data' || key === 'data_base64');
  if (last === undefined) return {};
  const value = members[last];
  if (last === 'data_base64') {
    if (typeof value !== 'string' || !/^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/.test(value)) {
      throw new RefusedError('The data_base64 is no Base64');
    }
    return { data_base64: value };
  }
  const type = contentType?.split(';')[0]!.trim().toLowerCase();
  if (type === undefined || ['application/json', 'text/json'].includes(type)) return { data: value };
  if (typeof value !== 'string') throw new RefusedError(`The data is no string, but the content type is ${type}`);
  return { data_base64: Buffer.from(value, 'utf8').toString('base64') };
}
