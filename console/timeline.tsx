import { useEffect, useRef, useState } from 'preact/hooks';
import { Attributes } from './attributes';
import { DevelopmentActions } from './development-actions';
import { keyOf } from './entry';
import { LatestSubjects } from './latest-subjects';
import { live } from './live';
import type { Entry } from './mesh-types';
import { route } from './route';
import { pathOf } from './server';
import { TimelineChart } from './timeline-chart';
import { TimelineForm } from './timeline-form';
import { TimelineTable } from './timeline-table';
import { useAnswer } from './use-answer';
import { useSession } from './use-session';
import { useValue } from './value';
import { Problem } from './waiting';

/** How long after the last message the journal is still read each second, in ms. */
const LIVELY_MS = 10_000;
/** Entries of a page of the journal, at most. */
const SIZE = 100;

export function Timeline() {
  const { subject, correlationId } = useValue(route).parameters;
  const { isDevelopment, role } = useSession();
  const isGiven = Boolean(subject ?? correlationId);
  const path = pathOf('/mesh/journal', { subject, correlationId, size: SIZE });
  const { answer, error, reload } = useAnswer<{ items: Entry[] }>(path, useLivelySecond());
  const entries = answer?.items ?? [];
  return (
    <>
      <h1>Timeline</h1>
      {isDevelopment && role === 'administrator' && <DevelopmentActions />}
      <TimelineForm subject={subject} correlationId={correlationId} />
      <Problem error={error} reload={reload} />
      {isGiven ? (
        <Journey key={path} entries={entries} isRead={answer !== undefined} />
      ) : (
        <LatestSubjects entries={entries} isRead={answer !== undefined} />
      )}
    </>
  );
}

/** The messages of one subject or correlation id. */
function Journey({ entries, isRead }: { entries: readonly Entry[]; isRead: boolean }) {
  const [selected, setSelected] = useState<string>();
  const entry = entries.find((it) => keyOf(it) === selected);
  if (entries.length === 0)
    return (
      <p class="muted">
        {isRead ? 'The journal has no message of it. It appears here when it is handled.' : 'Reading …'}
      </p>
    );
  const select = (it: Entry) => setSelected(keyOf(it));
  return (
    <>
      {entries.length === SIZE && <p class="banner">Only the latest {SIZE} messages are shown.</p>}
      <div class={entry ? 'beside open' : 'beside'}>
        <TimelineChart entries={entries} selected={entry} select={select} />
        {entry && <Attributes entry={entry} close={() => setSelected(undefined)} />}
      </div>
      <TimelineTable entries={entries} select={select} />
    </>
  );
}

/** Changes each second while messages are handled; the journal may have more then. */
function useLivelySecond(): number {
  const { changedAt, seconds } = useValue(live);
  const last = useRef(0);
  const now = seconds.at(-1)?.at ?? 0;
  useEffect(() => {
    if (now - changedAt < LIVELY_MS) last.current = now;
  });
  return now - changedAt < LIVELY_MS ? now : last.current;
}
