import { stepNamed } from '../runner/steps.js';
import { SLOW_MS } from './faults.js';
import { duration } from './format.js';
import { noiseMs } from './noise.js';
import type { Expectation, Outcome, Verdict } from './report.js';
import { confidence } from './statistics.js';

interface Measured {
  readonly outcomes: readonly Outcome[];
  readonly callsPerRide: Readonly<Record<number, number>>;
  readonly failingProbability: number;
}

/** The slide says 1000 %. */
const SLOWER = 10;
/** From this step on, users wait for the record of their own ride only. */
const ASYNCHRONOUS = stepNamed('commands-and-queries').number;
/** From this step on, handlers recognise a message that arrives twice. */
const IDEMPOTENT = stepNamed('inbox').number;
/** The limit for the share of the CPU that other programs use. */
const MAX_OTHER_CPU = 0.25;
/** Noise from which on 200 ms more or less can't be told from the machine's own delays, in ms. */
const MAX_NOISE_MS = SLOW_MS / 4;
/** For the ratio of two waits: the limit for the delay of the lab's timers, in ms; on a quiet machine it is below 5. */
const MAX_TIMER_DELAY_MS = 10;
/** For the ratio of two waits: the limit for p99 - p50, as a multiple of p50. */
const MAX_SPREAD = 4;
/** Share of the users who have to be answered in less than `SLOW_MS`. */
const PROMPT = 0.99;

/** With a no-break space. */
const percent = (share: number, digits = 1) => `${(share * 100).toFixed(digits)}\u00a0%`;
const confirmedIf = (isConfirmed: boolean): Verdict => (isConfirmed ? 'confirmed' : 'not confirmed');
const list = (outcomes: readonly Outcome[], show: (it: Outcome) => string | number) =>
  outcomes.map((it) => `step ${it.step}: ${show(it)}`).join(', ');
const tooNoisy = (figures: string, reason: string) => `${figures}. This machine is too noisy: ${reason}`;

/** @returns why delays by the machine are too long for a claim */
function longDelay(noise: number, limit: number): string | undefined {
  if (noise <= limit) return undefined;
  return `it delays by up to ${duration(noise)}, and ${duration(limit)} is the limit for this claim`;
}

/** @returns why the CPU is too busy for claims about waits */
function busyCpu(outcomes: readonly Outcome[]): string | undefined {
  const share = Math.max(0, ...outcomes.map(({ otherCpu }) => otherCpu));
  if (share <= MAX_OTHER_CPU) return undefined;
  return `other programs use ${percent(share, 0)} of the CPU, and ${percent(MAX_OTHER_CPU, 0)} is the limit`;
}

/** The claims of the talk that these outcomes can decide, each with its figures. */
export function expectations({ outcomes, callsPerRide, failingProbability }: Measured): Expectation[] {
  const under = (fault: string) => outcomes.filter((it) => it.fault === fault);
  const find = (step: number, fault: string) => under(fault).find((it) => it.step === step);
  const found: (Expectation | undefined)[] = [
    slowerWhenSplit(find(0, 'none'), find(1, 'none')),
    twelveCalls(callsPerRide[1]),
    odds(find(1, 'failing'), failingProbability),
    betterOdds(find(1, 'failing'), find(2, 'failing')),
    survivesOutage(under('down')),
    independentWait(under('slow'), under('none')),
    survivesCrash(under('killed').filter(({ step }) => step >= ASYNCHRONOUS)),
    effectsOnce(under('twice')),
    survivesBroker(under('broker')),
  ];
  return found.filter((it) => it !== undefined);
}

/** A ratio between two steps: other programs may slow down one of them only, so a noisy machine can't decide it. */
function slowerWhenSplit(legacy?: Outcome, split?: Outcome): Expectation | undefined {
  if (!legacy || !split) return undefined;
  const times = split.p50Ms / legacy.p50Ms;
  const figures = `${times.toFixed(1)} times: p50 ${duration(split.p50Ms)} against ${duration(legacy.p50Ms)}`;
  const reasons = [legacy, split].flatMap((it) => [
    busyCpu([it]),
    longDelay(it.timerDelayMs, MAX_TIMER_DELAY_MS),
    longDelay(it.p99Ms - it.p50Ms, MAX_SPREAD * it.p50Ms),
  ]);
  const reason = reasons.find((it) => it !== undefined);
  return {
    claim: 'Split into remote services, the same method is ten times slower (the slide: 1000\u00a0%)',
    verdict: reason ? 'not measurable' : confirmedIf(times >= SLOWER),
    measured: reason ? tooNoisy(figures, reason) : figures,
  };
}

function twelveCalls(calls?: number): Expectation | undefined {
  if (calls === undefined) return undefined;
  return {
    claim: 'The naive split makes 12 remote calls',
    verdict: confirmedIf(calls === 12),
    measured: `${calls} for each ride, counted`,
  };
}

function odds(failing: Outcome | undefined, probability: number): Expectation | undefined {
  if (!failing) return undefined;
  const { low, high } = confidence(failing.answered, failing.requests);
  const expected = (1 - probability) ** 12;
  const slide = percent(0.9999 ** 12, 2);
  return {
    claim: `If each of 12 calls fails with a probability of ${percent(probability, 0)}, (1 - p)^12 = ${percent(expected)} of the rides succeed (the slide: 99.99\u00a0%^12 = ${slide})`,
    verdict: confirmedIf(low <= expected && expected <= high),
    measured: `${percent(failing.answered / failing.requests)} of ${failing.requests}; 95 % confidence ${percent(low)} to ${percent(high)}`,
  };
}

function betterOdds(failing?: Outcome, meshed?: Outcome): Expectation | undefined {
  if (!failing || !meshed) return undefined;
  const [before, after] = [failing, meshed].map(({ answered, requests }) => answered / requests) as [number, number];
  return {
    claim: 'A service mesh improves the odds, and duplicates effects',
    verdict: confirmedIf(after > before && meshed.duplicated > failing.duplicated),
    measured: `success ${percent(before)} → ${percent(after)}, effects duplicated ${failing.duplicated} → ${meshed.duplicated}`,
  };
}

function survivesOutage(down: readonly Outcome[]): Expectation | undefined {
  if (down.length === 0) return undefined;
  const areAllAnswered = (it: Outcome) => it.answered === it.requests;
  return {
    claim: `Rides can be completed during an outage of invoicing from step ${ASYNCHRONOUS} on, and not before`,
    verdict: confirmedIf(down.every((it) => areAllAnswered(it) === it.step >= ASYNCHRONOUS)),
    measured: `answered with success: ${list(down, (it) => percent(it.answered / it.requests, 0))}`,
  };
}

/**
 * Counts the users who were answered in less time than invoicing takes longer. A user who waits for invoicing can't be
 * among them, however fast the machine is. A user who doesn't wait may be late because the machine is busy: then the
 * noise decides whether the claim is measurable.
 */
function independentWait(slow: readonly Outcome[], none: readonly Outcome[]): Expectation | undefined {
  if (slow.length === 0) return undefined;
  const claim = `The user's wait depends on a slow dependency before step ${ASYNCHRONOUS}, and not from there on`;
  const figures = `answered in less than the ${SLOW_MS} ms that invoicing takes longer: ${list(slow, (it) => `${it.prompt} of ${it.requests}`)}`;
  const isPrompt = (it: Outcome) => it.prompt >= PROMPT * it.requests;
  const failed = slow.filter((it) => (it.step < ASYNCHRONOUS ? it.prompt > 0 : !isPrompt(it)));
  const reasons = failed.map((it) => {
    if (it.step < ASYNCHRONOUS) return undefined;
    const own = [it, ...none.filter(({ step }) => step === it.step)];
    return busyCpu(own) ?? longDelay(noiseMs(own), MAX_NOISE_MS);
  });
  if (reasons[0] !== undefined && !reasons.includes(undefined)) {
    return { claim, verdict: 'not measurable', measured: tooNoisy(figures, reasons[0]) };
  }
  return { claim, verdict: confirmedIf(failed.length === 0), measured: figures };
}

/** On a busy machine the kill comes late: when everything has been handled by then, step 4 loses nothing either. */
function survivesCrash(killed: readonly Outcome[]): Expectation | undefined {
  if (killed.length === 0) return undefined;
  const claim = 'A crash loses messages that are only in memory, and none from the outbox on';
  const figures = `rides lost + effects missing: ${list(killed, (it) => `${it.lost} + ${it.missing}`)}`;
  const losses = (it: Outcome) => it.lost + it.missing;
  const failed = killed.filter((it) => (it.step === ASYNCHRONOUS ? losses(it) === 0 : losses(it) > 0));
  const reasons = failed.map((it) =>
    it.step === ASYNCHRONOUS ? (busyCpu([it]) ?? longDelay(it.timerDelayMs, MAX_NOISE_MS)) : undefined,
  );
  if (reasons[0] !== undefined && !reasons.includes(undefined)) {
    return { claim, verdict: 'not measurable', measured: tooNoisy(figures, reasons[0]) };
  }
  return { claim, verdict: confirmedIf(failed.length === 0), measured: figures };
}

function effectsOnce(twice: readonly Outcome[]): Expectation | undefined {
  if (twice.length === 0) return undefined;
  const areAsClaimed = (it: Outcome) => (it.step < IDEMPOTENT ? it.duplicated > 0 : it.duplicated === 0);
  return {
    claim: 'A message that arrives twice has its effects twice with an outbox alone, and once with an inbox',
    verdict: confirmedIf(twice.every(areAsClaimed)),
    measured: `effects duplicated: ${list(twice, (it) => it.duplicated)}`,
  };
}

function survivesBroker(broker: readonly Outcome[]): Expectation | undefined {
  if (broker.length === 0) return undefined;
  const isUnharmed = (it: Outcome) => it.answered === it.requests && it.lost + it.missing + it.duplicated === 0;
  return {
    claim: 'A crash of the broker delays messages, and neither loses nor duplicates any',
    verdict: confirmedIf(broker.every(isUnharmed)),
    measured: list(
      broker,
      (it) =>
        `answered ${percent(it.answered / it.requests, 0)}, lost ${it.lost}, missing ${it.missing}, duplicated ${it.duplicated}`,
    ),
  };
}
