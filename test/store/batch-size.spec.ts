import { BatchSize } from '../../src/infrastructure/persistence/batch-size.js';

const GOAL_MS = 20;

describe('The size of a batch', () => {
  it('doubles up to 64 units while full batches take less than the goal', () => {
    const size = new BatchSize(GOAL_MS);
    const sizes = [4, 8, 16, 32, 64, 64].map(() => {
      const { now } = size;
      size.succeeded(now, GOAL_MS - 1);
      return now;
    });
    expect(sizes).toEqual([4, 8, 16, 32, 64, 64]);
  });

  it('stays when a batch was not full, or took up to twice the goal', () => {
    const size = new BatchSize(GOAL_MS);
    size.succeeded(3, 1);
    size.succeeded(4, 2 * GOAL_MS);
    expect(size.now).toBe(4);
  });

  it('is halved down to one unit while batches take more than twice the goal', () => {
    const size = new BatchSize(GOAL_MS);
    const sizes = [4, 2, 1, 1].map(() => {
      const { now } = size;
      size.succeeded(now, 2 * GOAL_MS + 1);
      return now;
    });
    expect(sizes).toEqual([4, 2, 1, 1]);
  });

  it('is one unit for a while after a failure', () => {
    const size = new BatchSize(GOAL_MS, 3_600_000);
    size.failed();
    expect([size.isIsolated, size.now]).toEqual([true, 1]);
  });
});
