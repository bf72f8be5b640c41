import type { ReplayReport } from './mesh-types';
import { call, pathOf, Refused } from './server';

export interface Group {
  readonly consumer: string;
  readonly type: string;
  readonly cause: string;
}

const forced = (isForced: boolean) => (isForced ? 'true' : undefined);

/** Requeues all dead letters of a group. */
export function requeueGroup(group: Group, isForced: boolean): Promise<ReplayReport> {
  return call('POST', pathOf('/mesh/dead-letters/replay', { ...group, force: forced(isForced) }));
}

/** Requeues dead letters one by one; what can't be requeued stays, and the report says why. */
export async function requeueEach(ids: readonly string[], isForced: boolean): Promise<ReplayReport> {
  let replayed = 0;
  const skipped = new Map<string, string[]>();
  for (const id of ids) {
    try {
      await call('POST', pathOf(`/mesh/dead-letters/${id}/replay`, { force: forced(isForced) }));
      replayed++;
    } catch (error) {
      // Another answer, such as 503, would be the same for all of them.
      if (!(error instanceof Refused) || ![404, 409].includes(error.status)) throw error;
      skipped.set(error.message, [...(skipped.get(error.message) ?? []), id]);
    }
  }
  return { replayed, skipped: [...skipped].map(([reason, ids]) => ({ reason, count: ids.length, ids })) };
}

export async function discardEach(ids: readonly string[]): Promise<void> {
  for (const id of ids) {
    await call('DELETE', `/mesh/dead-letters/${id}`).catch((error: unknown) => {
      // Discarded or requeued meanwhile.
      if (!(error instanceof Refused && error.status === 404)) throw error;
    });
  }
}
