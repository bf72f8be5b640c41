import { printableLine } from '../../src/infrastructure/observability/printable.js';
import type { Listener } from './child.js';

/** Colours of the process names (ANSI codes), used in turn. */
const COLOURS = [36, 35, 34, 33, 32, 96, 95, 94, 92];
const BOLD = 1;
/** What the colours of a log line consist of. 8 is left out: it makes text invisible. */
const STYLE = /(\x1b\[(?!8m)\d{1,2}m)/;

/** Prints the output of the processes, each line with the name of its process. */
export class Printer implements Listener {
  private readonly width: number;
  /** Processes whose last line was printed. Indented lines below it belong to it. */
  private readonly printing = new Set<string>();

  constructor(
    private readonly names: readonly string[],
    private readonly isColoured: boolean,
  ) {
    this.width = Math.max(...names.map((name) => name.length));
  }

  /** Prints log lines and errors. Other output, such as the greeting of a process, is left out. */
  line(name: string, line: string, from: 'stdout' | 'stderr'): void {
    if (from === 'stderr') return line.trim() === '' ? undefined : this.print(name, line);
    const isLogged = /^(?:\x1b\[\d+m)*\[?\d\d:\d\d:\d\d\.\d{3}/.test(line);
    if (isLogged) this.printing.add(name);
    else if (!/^\s+\S/.test(line)) this.printing.delete(name);
    if (this.printing.has(name)) this.print(name, line);
  }

  died(name: string, how: string, againInMs: number): void {
    this.print(name, this.paint(`${how}; starting it again in ${againInMs / 1000} s`, BOLD));
  }

  started(name: string, pid: number): void {
    this.print(name, this.paint(`started again: pid ${pid}`, BOLD));
  }

  table(rows: readonly (readonly string[])[]): void {
    const widths = rows[0]!.map((_, column) => Math.max(...rows.map((row) => row[column]!.length)));
    console.log();
    for (const row of rows)
      console.log(
        row
          .map((cell, column) => cell.padEnd(widths[column]!))
          .join('  ')
          .trimEnd(),
      );
  }

  private print(name: string, text: string): void {
    const colour = COLOURS[this.names.indexOf(name) % COLOURS.length]!;
    console.log(`${this.paint(name.padEnd(this.width), colour)}  ${withoutControls(text)}`);
  }

  private paint(text: string, colour: number): string {
    return this.isColoured ? `\x1b[${colour}m${text}\x1b[0m` : text;
  }
}

/** Keeps colours. */
function withoutControls(text: string): string {
  return text
    .split(STYLE)
    .map((part, index) => (index % 2 === 1 ? part : printableLine(part)))
    .join('');
}
