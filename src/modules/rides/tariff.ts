/** The rate per km in whole units of currency, and a base fee in cents. */
export interface Tariff {
  readonly name: 'Standard' | 'Weekend' | 'Weekend+' | 'Sylwester';
  readonly kmRate: number;
  readonly baseFeeCents: number;
}

const STANDARD: Tariff = { name: 'Standard', kmRate: 1, baseFeeCents: 900 };
const WEEKEND: Tariff = { name: 'Weekend', kmRate: 1.5, baseFeeCents: 800 };
const WEEKEND_PLUS: Tariff = { name: 'Weekend+', kmRate: 2.5, baseFeeCents: 1000 };
const SYLWESTER: Tariff = { name: 'Sylwester', kmRate: 3.5, baseFeeCents: 1100 };

/** Local time, which selects the tariff. Months from 1, days of the week from Sunday = 0. */
export interface LocalTime {
  readonly month: number;
  readonly day: number;
  readonly weekday: number;
  readonly hour: number;
}

/** The first matching rule applies. Hours are whole, so "up to 6" lasts until 06:59:59. */
export function chooseTariff({ month, day, weekday, hour }: LocalTime): Tariff {
  const [isFriday, isSaturday, isSunday] = [weekday === 5, weekday === 6, weekday === 0];
  if ((month === 12 && day === 31) || (month === 1 && day === 1 && hour <= 6)) return SYLWESTER;
  if ((isFriday && hour >= 17) || (isSaturday && (hour <= 6 || hour >= 17)) || (isSunday && hour <= 6)) {
    return WEEKEND_PLUS;
  }
  return isSaturday || isSunday ? WEEKEND : STANDARD;
}

const clocks = new Map<string, Intl.DateTimeFormat>();

/** The local time of `instant` in `timeZone` (IANA name). */
export function localTime(instant: Date, timeZone: string): LocalTime {
  let clock = clocks.get(timeZone);
  if (!clock) {
    const options = {
      timeZone,
      hourCycle: 'h23',
      year: 'numeric',
      month: 'numeric',
      day: 'numeric',
      hour: 'numeric',
    } as const;
    clocks.set(timeZone, (clock = new Intl.DateTimeFormat('en-GB', options)));
  }
  const parts = Object.fromEntries(clock.formatToParts(instant).map(({ type, value }) => [type, Number(value)]));
  const { year, month, day, hour } = parts as Record<string, number>;
  const weekday = new Date(Date.UTC(year!, month! - 1, day)).getUTCDay();
  return { month: month!, day: day!, weekday, hour: hour! };
}

/** Cents = round half up (metres × rate per km / 10) + base fee. Computed in integers, in tenths of the rate. */
export function priceCents(metres: number, { kmRate, baseFeeCents }: Tariff): number {
  const rateInTenths = Math.round(kmRate * 10);
  return Math.floor((metres * rateInTenths + 50) / 100) + baseFeeCents;
}
