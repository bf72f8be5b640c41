import { TransactionSlots, type SlotUser } from '../../src/infrastructure/persistence/postgres/transaction-slots.js';

/** Takes a slot whenever it may, and keeps it. */
class Taker implements SlotUser {
  inFlight = 0;

  constructor(
    private readonly slots: TransactionSlots,
    private wanted: number,
  ) {}

  begin(): void {
    while (this.wanted > 0 && this.slots.take(this)) {
      this.wanted--;
      this.inFlight++;
    }
  }

  end(): void {
    this.inFlight--;
    this.slots.release();
  }
}

describe('The transactions of consumers', () => {
  const taken = (poolSize: number, wanted: number[]) => {
    const slots = new TransactionSlots(poolSize);
    const takers = wanted.map((it) => new Taker(slots, it));
    for (const taker of takers) taker.begin();
    return takers;
  };
  const counts = (takers: Taker[]) => takers.map(({ inFlight }) => inFlight);

  it('leave connections to requests', () => {
    const ofOne = (poolSize: number) =>
      counts(
        taken(
          poolSize,
          Array.from({ length: 20 }, () => 1),
        ),
      );
    const sums = [1, 2, 3, 5, 10, 20].map((poolSize) => ofOne(poolSize).reduce((a, b) => a + b));
    expect(sums).toEqual([1, 1, 2, 4, 8, 16]);
  });

  it('leave connections to consumers that have none yet', () => {
    expect(counts(taken(10, [9, 9, 1, 1]))).toEqual([6, 1, 1, 0]);
    expect(counts(taken(1, [9, 9]))).toEqual([1, 0]);
  });

  it('are at least one for each consumer whose units run alone, and at most a part of the pool', () => {
    const sizes = [1, 2, 3, 5, 10, 20, 100];
    expect(sizes.map((poolSize) => new TransactionSlots(poolSize).maxIsolated)).toEqual([1, 1, 2, 2, 4, 8, 10]);
  });

  it('go on in turns when another one ends', () => {
    const takers = taken(1, [5, 5, 1]);
    const turns = Array.from({ length: 6 }, () => {
      const turn = takers.findIndex(({ inFlight }) => inFlight > 0);
      takers[turn]!.end();
      return turn;
    });
    expect(turns.slice(1).sort()).toEqual([0, 0, 1, 1, 2]);
  });

  it('go on first where there are the fewest', () => {
    const [greedy, modest, late] = taken(5, [9, 9, 1]) as [Taker, Taker, Taker];
    expect(counts([greedy, modest, late])).toEqual([3, 1, 0]);
    greedy.end();
    expect(counts([greedy, modest, late])).toEqual([2, 1, 1]);
  });
});
