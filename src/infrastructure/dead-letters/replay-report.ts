/** Dead letters that a replay left where they are, for one reason. */
export interface SkippedDeadLetters {
  readonly reason: string;
  readonly count: number;
  /** The first of them. */
  readonly ids: readonly string[];
}

/** What a replay of several dead letters did. */
export interface ReplayReport {
  readonly replayed: number;
  readonly skipped: readonly SkippedDeadLetters[];
}

/** Ids that a report names for each reason, at most. */
export const MAX_IDS = 10;
/** Reasons that a report tells apart: senders choose types and addresses, so there may be one for each dead letter. */
const MAX_REASONS = 100;
const OTHER_REASONS = 'Other reasons: replay one of these dead letters by its id to read why';

/** Adds skipped dead letters to those of a report. */
export function addSkipped(all: readonly SkippedDeadLetters[], added: SkippedDeadLetters): SkippedDeadLetters[] {
  const isKnown = all.some(({ reason }) => reason === added.reason);
  const reason = isKnown || all.length < MAX_REASONS ? added.reason : OTHER_REASONS;
  const same = all.find((it) => it.reason === reason);
  const sum = {
    reason,
    count: added.count + (same?.count ?? 0),
    ids: [...(same?.ids ?? []), ...added.ids].slice(0, MAX_IDS),
  };
  return same ? all.map((it) => (it === same ? sum : it)) : [...all, sum];
}
