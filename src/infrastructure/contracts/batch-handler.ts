/**
 * Runs work for one message of a batch: what it sends has that message as its cause and is in its trace. What is sent outside of
 * it has no cause.
 */
export type CausedBy<Message> = <T>(message: Message, work: () => T) => T;

/**
 * Handles several durable commands of one type in one unit of work, so that one statement can serve all of them. Each is recorded
 * in the inbox by itself. Messages of one subject or partition key that come together are in lists of their own, in their order, one
 * after the other in the same unit. When it throws, nothing of the batch is stored, and each message is handled again by itself: by
 * `execute()`, or by `executeMany()` of one. So one that fails costs its neighbours a repetition.
 */
export interface DurableCommandBatchHandler<Message, Prepared = void> {
  /** Runs before the unit for each message, as in `DurableCommandHandler`. */
  prepare?(message: Message): Promise<Prepared>;
  /**
   * @param messages at least one, at most 64; at most one of each subject and of each partition key; those that were handled
   *   before are left out
   * @param prepared what `prepare()` returned for each
   */
  executeMany(messages: readonly Message[], causedBy: CausedBy<Message>, prepared: readonly Prepared[]): Promise<void>;
}

/** As `DurableCommandBatchHandler`, for durable events. */
export interface DurableEventBatchHandler<Message, Prepared = void> {
  prepare?(message: Message): Promise<Prepared>;
  handleMany(messages: readonly Message[], causedBy: CausedBy<Message>, prepared: readonly Prepared[]): Promise<void>;
}
