import { useState } from 'preact/hooks';
import { ConfirmButton } from './confirm-button';
import { DeadLetterTable } from './dead-letter-table';
import { plural } from './format';
import { live } from './live';
import type { DeadLetter, ReplayReport } from './mesh-types';
import { attempt } from './notices';
import { Pager } from './pager';
import { ReplayResult } from './replay-result';
import { discardEach, requeueEach, requeueGroup, type Group } from './requeue';
import { hashOf } from './route';
import { pathOf } from './server';
import { useAnswer } from './use-answer';
import { useSession } from './use-session';
import { useValue } from './value';
import { Problem } from './waiting';

const SIZE = 20;

interface Listing {
  readonly items: readonly DeadLetter[];
  readonly total: number;
}

/** The dead letters of one consumer and type with the same cause. */
export function DeadLetterGroup({ group, page }: { group: Group; page: number }) {
  const deadLetters = useValue(live).seconds.at(-1)?.outbox?.deadLetters;
  const path = pathOf('/mesh/dead-letters', { ...group, page, size: SIZE });
  const { answer, error, reload } = useAnswer<Listing>(path, deadLetters);
  const mayChange = useSession().role === 'administrator';
  const [checked, setChecked] = useState<ReadonlySet<string>>(new Set());
  const [isForced, setForced] = useState(false);
  const [report, setReport] = useState<ReplayReport>();
  const items = answer?.items ?? [];
  const total = answer?.total ?? 0;
  const ids = items.filter(({ id }) => checked.has(id)).map(({ id }) => id);

  const requeue = (act: () => Promise<ReplayReport>) =>
    attempt(async () => {
      setReport(undefined);
      const result = await act();
      setReport(result);
      reload();
      return `${plural(result.replayed, 'message')} requeued.`;
    });
  const discard = async (which: readonly string[]) => {
    await discardEach(which);
    reload();
    return `${plural(which.length, 'message')} discarded.`;
  };

  return (
    <>
      <p>
        <a href={hashOf('dead-letters')}>← All causes</a>
      </p>
      <h1 class="long">{group.cause || 'Unknown cause'}</h1>
      <p class="muted long">
        {group.type} at {group.consumer}: {answer ? plural(total, 'message') : 'reading …'}
      </p>
      <Problem error={error} reload={reload} />
      {mayChange && (
        <div class="row" role="group" aria-label="Actions">
          <button
            type="button"
            class="primary"
            disabled={total === 0}
            onClick={() => requeue(() => requeueGroup(group, isForced))}
          >
            Requeue all {plural(total, 'message')}
          </button>
          <button type="button" disabled={ids.length === 0} onClick={() => requeue(() => requeueEach(ids, isForced))}>
            Requeue checked ({ids.length})
          </button>
          <ConfirmButton
            label={`Discard checked (${ids.length})`}
            question={`Discard ${plural(ids.length, 'message')}?`}
            explanation="A discarded message is deleted. Its effect never happens."
            isDisabled={ids.length === 0}
            act={() => discard(ids)}
          />
          <label>
            <input type="checkbox" checked={isForced} onChange={(event) => setForced(event.currentTarget.checked)} />
            Also those that are older than the replay window
          </label>
        </div>
      )}
      {report && <ReplayResult report={report} />}
      {items.length > 0 && (
        <DeadLetterTable
          items={items}
          mayChange={mayChange}
          checked={checked}
          setChecked={setChecked}
          requeue={(id) => requeue(() => requeueEach([id], isForced))}
          discard={(id) => discard([id])}
        />
      )}
      <Pager page={page} size={SIZE} total={total} hashOf={(to) => hashOf('dead-letters', { ...group, page: to })} />
    </>
  );
}
