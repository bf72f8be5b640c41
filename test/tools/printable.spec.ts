import { formatError } from '../../src/infrastructure/observability/format-error.js';
import { printable, printableLine } from '../../src/infrastructure/observability/printable.js';
import type { Consumer } from '../../tools/broker/consumers.js';
import { Reporter } from '../../tools/broker/reporter.js';
import type { StoredEvent } from '../../tools/broker/stored-event.js';
import { Printer } from '../../tools/mesh-up/printer.js';

/** Clears the screen, sets the title, and an escape sequence of one character (C1). */
const ATTACKS = ['\x1b[2J', '\x1b]0;title\x07', '\x9b2J', '\b\b\b', '\x7f', '\0'];
const CONTROL = /[^\P{Cc}\n\t]/u;

describe('Text for a terminal', () => {
  it.each(ATTACKS)('has no control characters: %j', (attack) => {
    expect(printable(`a${attack}b`)).not.toMatch(CONTROL);
    expect(printable(`a${attack}b`)).toMatch(/^a\ufffd.*b$/);
    expect(formatError(new Error(`a${attack}b`, { cause: attack }))).not.toMatch(CONTROL);
  });

  it('keeps letters, tabs and newlines, and becomes one line where it has to', () => {
    const text = 'Żytnia 32\t😀 مرحبا\nmore';
    expect(printable(text)).toBe(text);
    expect(printable('a\r\nb\rc')).toBe('a\nb\ufffdc');
    expect(printableLine('a\r\nb\nc')).toBe('a b c');
    expect(formatError(new Error('a\tb\nc', { cause: new Error('d') }))).toBe('Error: a\tb\nc\ncaused by Error: d');
  });
});

describe('The lines of the laptop broker', () => {
  it.each(ATTACKS)('have no control characters of a message or an answer: %j', (attack) => {
    const lines: string[] = [];
    const reporter = new Reporter((line) => lines.push(line), false);
    const event = { id: `i${attack}`, type: `t${attack}`, subject: `s${attack}` } as StoredEvent;
    reporter.accepted(event, ['rides']);
    reporter.refused(400, `no ${attack}`);
    reporter.failedForGood(event, { name: 'rides' } as Consumer, new Error(`500 ${attack}\nsecond line`), true);
    expect(lines).toHaveLength(3);
    for (const line of lines) {
      expect(line).not.toMatch(CONTROL);
      expect(line).not.toContain('\n');
    }
  });
});

describe('The lines of npm run mesh:up', () => {
  const printed: string[] = [];
  const log = console.log;
  beforeEach(() => {
    printed.length = 0;
    console.log = (line: string) => printed.push(line);
  });
  afterEach(() => {
    console.log = log;
  });

  it.each([...ATTACKS, '\x1b[8m', '\x1b[1;31m'])('have no control characters of a process: %j', (attack) => {
    const printer = new Printer(['rides'], false);
    printer.line('rides', `[10:00:00.000] WARN: no ${attack}`, 'stdout');
    printer.line('rides', `no ${attack}`, 'stderr');
    expect(printed).toHaveLength(2);
    for (const line of printed) expect(line).not.toMatch(CONTROL);
  });

  it('keep the colours of the log', () => {
    const line = '[10:00:00.000] \x1b[33mWARN\x1b[39m: \x1b[36mslow\x1b[39m';
    new Printer(['rides'], false).line('rides', line, 'stdout');
    expect(printed).toEqual([`rides  ${line}`]);
  });
});
