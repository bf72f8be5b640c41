import { jest } from '@jest/globals';
import { EarliestTimer } from '../../src/infrastructure/broker/earliest-timer.js';
import { SearchPause } from '../../src/infrastructure/broker/search-pause.js';

const pass = (ms: number) => jest.advanceTimersByTime(ms);

// A busy machine would miss the milliseconds that this is about. `performance.now()` follows this clock, too.
beforeEach(() => jest.useFakeTimers());
afterEach(() => jest.useRealTimers());

describe('The pause before a search', () => {
  it('is put off by queries that left no group out, but for no longer than a second', () => {
    const pause = new SearchPause();
    for (let ms = 0; ms < 1000; ms += 10) {
      pause.putOff();
      expect(pause.isOver).toBe(false);
      pass(10);
    }
    // The last query may come after the second.
    pause.putOff();
    expect(pause.isOver).toBe(true);
  });

  it('ends 50 ms after the last query, and lasts 20 times as long as a search', () => {
    const pause = new SearchPause();
    pause.putOff();
    pass(49);
    expect(pause.isOver).toBe(false);
    pass(1);
    expect(pause.isOver).toBe(true);
    pause.begin(10);
    pass(199);
    expect(pause.isOver).toBe(false);
    pass(1);
    expect(pause.isOver).toBe(true);
  });

  it('calls one action when it is over, and none after it was cancelled', () => {
    const pause = new SearchPause();
    const calls: number[] = [];
    pause.begin(0);
    pause.whenOver(() => calls.push(1));
    pause.whenOver(() => calls.push(2));
    pass(49);
    expect(calls).toEqual([]);
    pass(100);
    expect(calls).toEqual([1]);
    pause.begin(0);
    pause.whenOver(() => calls.push(3));
    pause.cancel();
    pass(100);
    expect(calls).toEqual([1]);
  });
});

describe('The earliest timer', () => {
  it('rings once, at the earliest time, and can be set again', () => {
    let rings = 0;
    const timer = new EarliestTimer(() => rings++);
    timer.set(10_000);
    timer.set(20);
    timer.set(5000);
    timer.set(Infinity);
    pass(19);
    expect(rings).toBe(0);
    pass(1);
    expect(rings).toBe(1);
    pass(20_000);
    expect(rings).toBe(1);
    timer.set(20);
    pass(20);
    expect(rings).toBe(2);
    timer.set(20);
    timer.cancel();
    pass(100);
    expect(rings).toBe(2);
  });
});
