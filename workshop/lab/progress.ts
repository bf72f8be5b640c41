import { duration } from './format.js';
import type { Outcome } from './report.js';

const WIDTH = 24;

/** Shows the progress of a long run: a progress bar on a terminal, else a line for each outcome. */
export class Progress {
  private readonly began = Date.now();
  private readonly isTerminal = process.stderr.isTTY;

  show(done: number, all: number, what: string): void {
    if (!this.isTerminal) return;
    const full = Math.round((WIDTH * done) / all);
    const bar = `${'█'.repeat(full)}${'░'.repeat(WIDTH - full)}`;
    const line = `${bar} ${String(done).padStart(2)} of ${all}  ${this.seconds()}  ${what}`;
    process.stderr.write(`\r\x1b[K${line.slice(0, (process.stderr.columns || 80) - 1)}`);
  }

  showOutcome({ step, fault, answered, requests, p50Ms, lost, missing, duplicated, stuck }: Outcome): void {
    if (this.isTerminal) return;
    const counts = `lost ${lost}, missing ${missing}, duplicated ${duplicated}, stuck ${stuck}`;
    console.error(
      `${this.seconds()}  step ${step} ${fault.padEnd(8)} ${answered} of ${requests}, p50 ${duration(p50Ms)}, ${counts}`,
    );
  }

  end(): void {
    if (this.isTerminal) process.stderr.write('\r\x1b[K');
  }

  private seconds(): string {
    return `${Math.round((Date.now() - this.began) / 1000)} s`.padStart(5);
  }
}
