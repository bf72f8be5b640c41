import { SLOW_MS } from './faults.js';
import type { Outcome } from './lab.js';
import { confidence } from './statistics.js';
import { duration } from './table.js';

/** A claim, and what the lab has measured of it. */
export interface Expectation {
  readonly claim: string;
  readonly isConfirmed: boolean;
  /** The figures. */
  readonly measured: string;
}

interface Measured {
  readonly outcomes: readonly Outcome[];
  readonly callsPerRide: Readonly<Record<number, number>>;
  readonly failingProbability: number;
}

/** The slide says 1000 %. */
const SLOWER = 10;
/** From this step on a user waits for his own ride only. */
const ASYNCHRONOUS = 4;

/** With a space that no line is broken at. */
const percent = (share: number, digits = 1) => `${(share * 100).toFixed(digits)}\u00a0%`;

/** The claims of the talk that the outcomes can tell something of, each with its figures. */
export function expectations({ outcomes, callsPerRide, failingProbability }: Measured): Expectation[] {
  const under = (fault: string) => outcomes.filter((it) => it.fault === fault);
  const of = (step: number, fault: string) => under(fault).find((it) => it.step === step);
  const list = (all: readonly Outcome[], show: (it: Outcome) => string | number) =>
    all.map((it) => `step ${it.step}: ${show(it)}`).join(', ');
  const found: Expectation[] = [];

  const [legacy, split] = [of(0, 'none'), of(1, 'none')];
  if (legacy && split) {
    const times = split.p50Ms / legacy.p50Ms;
    found.push({
      claim: 'Split into remote services, the same method is ten times slower (the slide: 1000\u00a0%)',
      isConfirmed: times >= SLOWER,
      measured: `${times.toFixed(1)} times: p50 ${duration(split.p50Ms)} against ${duration(legacy.p50Ms)}`,
    });
  }

  const calls = callsPerRide[1];
  if (calls !== undefined) {
    const isTwelve = calls === 12;
    found.push({ claim: 'It makes 12 remote calls', isConfirmed: isTwelve, measured: `${calls} a ride, counted` });
  }

  const [failing, meshed] = [of(1, 'failing'), of(2, 'failing')];
  if (failing) {
    const { low, high } = confidence(failing.answered, failing.requests);
    const expected = (1 - failingProbability) ** 12;
    found.push({
      claim: `Where each of 12 calls fails with ${percent(failingProbability, 0)}, (1 - p)^12 = ${percent(expected)} succeed (the slide: 99.99\u00a0%^12 = ${percent(0.9999 ** 12, 2)})`,
      isConfirmed: low <= expected && expected <= high,
      measured: `${percent(failing.answered / failing.requests)} of ${failing.requests}; 95 % confidence ${percent(low)} to ${percent(high)}`,
    });
  }
  if (failing && meshed) {
    const [before, after] = [failing, meshed].map(({ answered, requests }) => answered / requests) as [number, number];
    found.push({
      claim: 'A service mesh betters the odds, and pays with duplicated effects',
      isConfirmed: after > before && meshed.duplicated > failing.duplicated,
      measured: `success ${percent(before)} → ${percent(after)}, duplicated ${failing.duplicated} → ${meshed.duplicated}`,
    });
  }

  const down = under('down');
  if (down.length > 0) {
    const isKept = (it: Outcome) => it.answered === it.requests;
    found.push({
      claim: `That the ride is over survives an outage of invoicing, from step ${ASYNCHRONOUS} on and not before`,
      isConfirmed: down.every((it) => isKept(it) === it.step >= ASYNCHRONOUS),
      measured: `answered with success: ${list(down, (it) => percent(it.answered / it.requests, 0))}`,
    });
  }

  const slow = under('slow').flatMap((it) => {
    const healthy = of(it.step, 'none');
    return healthy ? [{ ...it, p99Ms: it.p99Ms - healthy.p99Ms }] : [];
  });
  if (slow.length > 0) {
    const isDependent = (it: Outcome) => it.p99Ms > SLOW_MS / 2;
    found.push({
      claim: `The user's wait depends on a slow dependency before step ${ASYNCHRONOUS}, and no more from there on`,
      isConfirmed: slow.every((it) => isDependent(it) === it.step < ASYNCHRONOUS),
      measured: `p99 grew by: ${list(slow, (it) => duration(Math.max(0, it.p99Ms)))}`,
    });
  }

  const killed = under('killed').filter(({ step }) => step >= ASYNCHRONOUS);
  if (killed.length > 0) {
    found.push({
      claim: 'What a crash interrupts is lost where messages are in memory, and is not from the outbox on',
      isConfirmed: killed.every((it) =>
        it.step === ASYNCHRONOUS ? it.lost + it.missing > 0 : it.lost + it.missing === 0,
      ),
      measured: `rides lost + effects missing: ${list(killed, (it) => `${it.lost} + ${it.missing}`)}`,
    });
  }

  const twice = under('twice');
  if (twice.length > 0) {
    found.push({
      claim: 'What arrives twice happens twice with an outbox alone, and once with an inbox',
      isConfirmed: twice.every((it) => (it.step < 6 ? it.duplicated > 0 : it.duplicated === 0)),
      measured: `effects duplicated: ${list(twice, (it) => it.duplicated)}`,
    });
  }

  const broker = under('broker');
  if (broker.length > 0) {
    const isUnharmed = (it: Outcome) => it.answered === it.requests && it.lost + it.missing + it.duplicated === 0;
    found.push({
      claim: 'A broker that dies delays messages, and neither loses nor doubles any',
      isConfirmed: broker.every(isUnharmed),
      measured: list(
        broker,
        (it) =>
          `answered ${percent(it.answered / it.requests, 0)}, lost ${it.lost}, missing ${it.missing}, duplicated ${it.duplicated}`,
      ),
    });
  }
  return found;
}
