import { AsyncLocalStorage } from 'node:async_hooks';
import type { ServerResponse } from 'node:http';

/** Contexts may outlive their request, for instance in its socket: they must not keep its body in memory. */
interface Holder {
  leave?: () => void;
}

const slot = new AsyncLocalStorage<Holder>();

/** Gives back the slot of the request that the calling code serves: it is going to wait for another process. */
export function leaveSlot(): void {
  slot.getStore()?.leave?.();
}

/** Makes `leave` what `leaveSlot()` does in the code that `next` calls, until the request is answered. */
export function withSlot(response: ServerResponse, leave: () => void, next: () => void): () => void {
  const holder: Holder = { leave };
  response.once('close', () => delete holder.leave);
  return () => slot.run(holder, next);
}
