import type { SqlValue } from '../persistence/sql.js';

/** Accepted messages that the outbox still holds, at most: a process that crashes now sends them again. */
const MAX_UNREMOVED = 4000;

/** Which messages of the outbox the publisher has read, by their sequence numbers, so that no query reads them again. */
export class LoadedMessages {
  /** How often messages were unloaded, or no longer left out: a query that ran meanwhile has missed them. */
  unloads = 0;
  private readonly seqs = new Set<SqlValue>();
  /** Messages that the broker has accepted and the outbox still holds. */
  private unremoved = 0;
  /** Up to this sequence number, each message is loaded, left out or gone. */
  private readUpTo: SqlValue = 0;
  private hasLeftOut = false;

  /** Messages that wait for the broker. */
  get count(): number {
    return this.seqs.size - this.unremoved;
  }

  /** Whether nothing should be read until accepted messages are removed. */
  get isFull(): boolean {
    return this.unremoved >= MAX_UNREMOVED;
  }

  add(seq: SqlValue): void {
    this.seqs.add(seq);
  }

  /** A query has read all messages up to this one. */
  read(seq: SqlValue): void {
    this.readUpTo = seq;
  }

  /** A query leaves out messages because their group is full. */
  leaveOut(): void {
    this.hasLeftOut = true;
  }

  /** The message stays in the outbox, to be read again. */
  unload(seq: SqlValue): void {
    this.seqs.delete(seq);
  }

  accepted(): void {
    this.unremoved++;
  }

  /** The outbox no longer holds these accepted messages. */
  removed(seqs: readonly SqlValue[]): void {
    this.unremoved -= seqs.length;
    for (const seq of seqs) this.seqs.delete(seq);
  }

  /** A group has room again. @returns whether messages had been left out: the next query looks at all messages */
  includeLeftOut(): boolean {
    if (!this.hasLeftOut) return false;
    this.includeAll();
    return true;
  }

  /** The next query looks at all messages. */
  includeAll(): void {
    this.unloads++;
    this.readUpTo = 0;
    this.hasLeftOut = false;
  }

  /**
   * What the next query needn't read.
   * @param floor up to which the outbox is empty; undefined where messages are committed in the order of their numbers
   */
  excluded(floor: number | undefined): { after: SqlValue; loaded: SqlValue[] } {
    const after = floor ?? this.readUpTo;
    const loaded: SqlValue[] = [];
    for (const seq of this.seqs) if (Number(seq) > Number(after)) loaded.push(seq);
    return { after, loaded };
  }
}
