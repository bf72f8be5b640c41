import { setTimeout as wait } from 'node:timers/promises';
import { EarliestTimer } from '../../src/infrastructure/broker/earliest-timer.js';
import { SearchPause } from '../../src/infrastructure/broker/search-pause.js';

describe('The pause before a search', () => {
  it('is put off by queries that left no group out, but for no longer than a second', async () => {
    const pause = new SearchPause();
    const began = performance.now();
    pause.putOff();
    while (!pause.isOver && performance.now() - began < 5000) {
      await wait(10);
      // The last query may come after the second.
      if (!pause.isOver) pause.putOff();
    }
    const took = performance.now() - began;
    expect(took).toBeGreaterThan(900);
    expect(took).toBeLessThan(2000);
  });

  it('ends 50 ms after the last query, and lasts 20 times as long as a search', async () => {
    const pause = new SearchPause();
    pause.putOff();
    expect(pause.isOver).toBe(false);
    await wait(60);
    expect(pause.isOver).toBe(true);
    pause.begin(10);
    await wait(100);
    expect(pause.isOver).toBe(false);
    await wait(110);
    expect(pause.isOver).toBe(true);
  });

  it('calls one action when it is over, and none after it was cancelled', async () => {
    const pause = new SearchPause();
    const calls: number[] = [];
    pause.begin(0);
    pause.whenOver(() => calls.push(1));
    pause.whenOver(() => calls.push(2));
    await wait(100);
    expect(calls).toEqual([1]);
    pause.begin(0);
    pause.whenOver(() => calls.push(3));
    pause.cancel();
    await wait(100);
    expect(calls).toEqual([1]);
  });
});

describe('The earliest timer', () => {
  it('rings once, at the earliest time, and can be set again', async () => {
    const rings: number[] = [];
    const timer = new EarliestTimer(() => rings.push(performance.now()));
    const began = performance.now();
    timer.set(10_000);
    timer.set(20);
    timer.set(5000);
    timer.set(Infinity);
    await wait(150);
    expect(rings).toHaveLength(1);
    expect(rings[0]! - began).toBeGreaterThanOrEqual(19);
    timer.set(20);
    await wait(100);
    expect(rings).toHaveLength(2);
    timer.set(20);
    timer.cancel();
    await wait(100);
    expect(rings).toHaveLength(2);
  });
});
