import { PartitionQueues } from '../../src/infrastructure/broker/partition-queues.js';
import { numbers } from '../support/notes.js';

/* The queues of the publisher against an outbox in an array, as SQLite would answer. */

interface Row {
  readonly seq: number;
  readonly id: string;
  readonly type: string;
  readonly partition_key: string;
  readonly event: string;
  readonly created_at: number;
}

const row = (seq: number, type = 'a'): Row => {
  const event = JSON.stringify({ id: String(seq), padding: 'x'.repeat(400) });
  return { seq, id: String(seq), type, partition_key: String(seq), event, created_at: 0 };
};

/** An outbox whose messages belong to the group that is their type. */
class Outbox {
  /** Rows that queries have brought. */
  read = 0;
  readonly queues = new PartitionQueues(
    () => undefined,
    (type) => ({ order: type, group: type }),
  );

  constructor(private rows: readonly Row[]) {}

  load(): void {
    const { after, loaded, excluded, limit } = this.queues.query(undefined);
    const known = new Set(loaded);
    const found = this.rows
      .filter(({ seq, type }) => seq > Number(after) && !known.has(seq) && !excluded.groups.includes(type))
      .slice(0, limit);
    this.read += found.length;
    this.queues.add(found, undefined);
  }

  /** The broker accepts the first message that waits. @returns its number, if there is one */
  accept(isServed: (group: string) => boolean = () => true): number | undefined {
    const partition = this.queues.take(0, false, isServed);
    const seq = partition?.messages[0]!.seq as number | undefined;
    if (partition) this.queues.advance(partition);
    return seq;
  }

  remove(seqs: readonly number[]): void {
    const removed = new Set(seqs);
    this.rows = this.rows.filter(({ seq }) => !removed.has(seq));
    this.queues.messages.removed(seqs);
  }
}

describe('The queues of the publisher', () => {
  it('read each message once while one group is published', () => {
    const outbox = new Outbox(numbers(3000).map((n) => row(n + 1)));
    const accepted: number[] = [];
    for (let loads = 0; accepted.length < 3000 && loads < 100; loads++) {
      outbox.load();
      // Half of its share: then the group has room again.
      for (let n = 0; n < 250; n++) accepted.push(...[outbox.accept() ?? []].flat());
    }
    expect(accepted).toEqual(numbers(3000).map((n) => n + 1));
    expect(outbox.read).toBe(3000);
  });

  it('find the messages of another group behind a full one, and come back to those left out', () => {
    const rows = [...numbers(1000).map((n) => row(n + 1)), ...numbers(10).map((n) => row(n + 1001, 'b'))];
    const outbox = new Outbox(rows);
    for (let loads = 0; loads < 5; loads++) outbox.load();
    const others = numbers(10).map(() => outbox.accept((group) => group === 'b'));
    expect(others).toEqual(numbers(10).map((n) => n + 1001));
    const accepted: number[] = [];
    for (let loads = 0; accepted.length < 1000 && loads < 20; loads++) {
      for (let n = 0; n < 300; n++) accepted.push(...[outbox.accept() ?? []].flat());
      outbox.load();
    }
    expect(accepted).toEqual(numbers(1000).map((n) => n + 1));
  });

  it('read nothing while 4,000 accepted messages are still in the outbox, and go on when they are removed', () => {
    const outbox = new Outbox(numbers(6000).map((n) => row(n + 1)));
    const accepted: number[] = [];
    for (let loads = 0; outbox.queues.room > 0 && loads < 100; loads++) {
      outbox.load();
      for (let n = 0; n < 250; n++) accepted.push(...[outbox.accept() ?? []].flat());
    }
    expect(accepted.length).toBeGreaterThanOrEqual(4000);
    expect(accepted.length).toBeLessThan(4500);
    outbox.remove(accepted);
    expect(outbox.queues.room).toBeGreaterThan(0);
    outbox.load();
    while (outbox.queues.hasReady(() => true)) accepted.push(outbox.accept()!);
    expect(accepted).toEqual(numbers(accepted.length).map((n) => n + 1));
  });
});
