import { Injectable } from '@nestjs/common';

const DAY_MS = 86_400_000;

/** The current time; injected, so that tests can set it. */
@Injectable()
export class Clock {
  now(): Date {
    return new Date();
  }
}

/** The day of a time (ms since 1970), as days since 1970-01-01 in UTC: short enough for a column and its index. */
export function dayOf(ms: number): number {
  return Math.floor(ms / DAY_MS);
}

export function today(): number {
  return dayOf(Date.now());
}
