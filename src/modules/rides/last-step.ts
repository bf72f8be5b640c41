/** The times of a transit's steps, in ISO 8601. A change of the destination has none: repeating it does no harm. */
export interface StepTimes {
  readonly requestedAt: string;
  readonly publishedAt: string | null;
  readonly acceptedAt: string | null;
  readonly startedAt: string | null;
  readonly completingAt: string | null;
  readonly cancelledAt: string | null;
}

/** When a transit took its last step, in ms since 1970. */
export function lastStepAt(transit: StepTimes): number {
  const { requestedAt, publishedAt, acceptedAt, startedAt, completingAt, cancelledAt } = transit;
  const times = [requestedAt, publishedAt, acceptedAt, startedAt, completingAt, cancelledAt];
  return Math.max(...times.filter((it) => it !== null).map((it) => Date.parse(it)));
}
