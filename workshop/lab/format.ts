/** A duration with its unit: `5.2 ms`, `250 ms`, `7.7 s`. */
export function duration(ms: number): string {
  if (ms < 10) return `${ms.toFixed(1)} ms`;
  return ms < 1000 ? `${ms.toFixed(0)} ms` : `${(ms / 1000).toFixed(1)} s`;
}

/** A duration for the label of a chart: short, and without a unit when it is in milliseconds. */
export function chartLabel(ms: number): string {
  if (ms >= 9950) return `${Math.round(ms / 1000)} s`;
  if (ms >= 999.5) return `${(ms / 1000).toFixed(1)} s`;
  return ms.toFixed(ms < 9.95 ? 1 : 0);
}

/** A duration as in the label of a chart, but always with its unit. */
export function chartDuration(ms: number): string {
  const text = chartLabel(ms);
  return text.endsWith('s') ? text : `${text} ms`;
}

/** `37.5 %` */
export function share(part: number, whole: number): string {
  const percent = (100 * part) / whole;
  return `${Number.isInteger(percent) ? percent : percent.toFixed(1)} %`;
}

/** A percentage without its sign. Only all are 100 and only none are 0: 2999 of 3000 are 99.9. */
export function percent(part: number, all: number): string {
  if (all === 0) return '0';
  if (part === 0 || part === all) return String((part / all) * 100);
  return String(Math.min(99.9, Math.max(0.1, Math.round((part / all) * 1000) / 10)));
}
