import { checkAttribute, checkComplete } from './attributes.js';
import type { CloudEvent } from './cloud-event.js';

/**
 * A plain copy of an event that the application has made, such as a `CloudEvent` of the SDK: without attributes that are
 * unset, and with binary data as Base64 only.
 * @throws MalformedEvent when an attribute breaks CloudEvents 1.0
 */
export function plainEvent(event: CloudEvent): CloudEvent {
  const plain: Record<string, unknown> = {};
  for (const [name, value] of Object.entries(event)) {
    if (name === 'data' || name === 'data_base64') continue;
    const checked = checkAttribute(name, value);
    if (checked !== undefined) plain[name] = checked;
  }
  if (event.data_base64 !== undefined) plain.data_base64 = event.data_base64;
  else if (event.data !== undefined) plain.data = event.data;
  return checkComplete(plain);
}
