import { jest } from '@jest/globals';
import { validate, version } from 'uuid';
import { eventId } from '../../src/infrastructure/cloudevents/event-id.js';

describe('The id of an event', () => {
  const began = Date.now();
  // Thousands of them in each millisecond.
  const ids = Array.from({ length: 100_000 }, () => eventId());
  const timeOf = (id: string) => parseInt(id.replaceAll('-', '').slice(0, 12), 16);

  it('is a UUID of version 7 with the time of now', () => {
    expect(ids.filter((id) => !validate(id) || version(id) !== 7)).toEqual([]);
    expect(timeOf(ids[0]!)).toBeGreaterThanOrEqual(began);
    expect(timeOf(ids.at(-1)!)).toBeLessThanOrEqual(Date.now());
  });

  it('is larger than all before it, also when the clock is set back', () => {
    const clock = jest.spyOn(Date, 'now').mockReturnValue(began - 60_000);
    const later = [eventId(), eventId()];
    clock.mockRestore();
    const all = [...ids, ...later, eventId()];
    expect(all.filter((id, index) => index > 0 && id <= all[index - 1]!)).toEqual([]);
  });

  it('ends with random bits of its own', () => {
    expect(new Set(ids.map((id) => id.slice(-10))).size).toBeGreaterThan(99_990);
  });
});
