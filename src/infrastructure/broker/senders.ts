import { Forbidden } from '../contracts/domain-errors.js';

/** An identity that may deliver to this process. */
export interface Sender {
  /** The `sub` of its tokens. */
  readonly subject: string;
  /** The only path where it may deliver, as the segment after `/mesh/`; every path by default. */
  readonly segment?: string;
}

/** @throws Forbidden if no sender with this subject may deliver to `/mesh/<segment>`, or to `/` for an empty segment */
export function assertMayDeliver(senders: readonly Sender[], subject: string, segment: string): void {
  const isAllowed = senders.some(
    (it) => it.subject === subject && (it.segment === undefined || it.segment === segment),
  );
  if (!isAllowed)
    throw new Forbidden('The subject of the token may not deliver here: list it in the option broker.tokens.senders');
}
