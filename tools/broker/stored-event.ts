import type { CloudEvent } from '../../src/infrastructure/cloudevents/cloud-event.js';

/*
 * Events as the broker stores them. A broker passes attributes on byte for byte, so they are kept as Node gives headers:
 * one character for each byte of UTF-8.
 */

/** An accepted event. No attribute can be called `_mesh`, so this name is free for the broker's own data. */
export interface StoredEvent extends CloudEvent {
  readonly data_base64?: string;
  readonly knativebrokerttl?: string;
  readonly _mesh: {
    /** `<namespace>/<name>` of the broker that accepted the event. */
    readonly broker: string;
    /** Headers that are forwarded together with the event. */
    readonly headers: Record<string, string>;
  };
}

/** An HTTP message. Header names are in lower case. */
export interface Message {
  readonly headers: Record<string, string>;
  readonly body: Buffer;
}

/** Converts text to a header: one character for each byte of its UTF-8. */
export function asHeader(text: string): string {
  return Buffer.from(text, 'utf8').toString('latin1');
}

/** Converts a header to the text whose UTF-8 it contains. */
export function asText(header: string): string {
  return Buffer.from(header, 'latin1').toString('utf8');
}
