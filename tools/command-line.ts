import { parseArgs, type ParseArgsConfig } from 'node:util';
import { printable, printableLine } from '../src/infrastructure/observability/printable.js';
import { UsageError } from './errors.js';

/* What all commands of this project have in common: --help, wrong arguments, and the exit code. */

type Options = NonNullable<ParseArgsConfig['options']>;

/** How a command was called. */
export interface Call {
  /** As the user has typed it, for its usage: `npx meshy reconcile`, `npm run reconcile --`. */
  readonly program: string;
  readonly args: readonly string[];
}

/** A command line. `help` is added to its options. */
interface CommandLine<O extends Options> {
  /** Printed for --help, and after wrong arguments. */
  readonly usage: string;
  readonly options: O;
  readonly allowPositionals?: boolean;
  /** Text for an error that is no UsageError; default: its message. */
  readonly formatError?: (error: unknown) => string;
}

type Arguments<O extends Options> = ReturnType<typeof parseArgs<{ options: O; strict: true }>>;

/**
 * Parses the arguments and runs the command. `--help` prints the usage. The exit code is 2 for a UsageError, and 1 for any
 * other error.
 * @param args default: those of this process
 */
export async function runCommand<const O extends Options>(
  { usage, options, allowPositionals = false, formatError = messageOf }: CommandLine<O>,
  command: (values: Arguments<O>['values'], positionals: string[]) => Promise<void>,
  args: readonly string[] = process.argv.slice(2),
): Promise<void> {
  try {
    const withHelp = { ...options, help: { type: 'boolean', short: 'h' } } as const;
    const { values, positionals } = parse(args, withHelp, allowPositionals);
    if ('help' in values && values.help) return console.log(usage);
    await command(values as Arguments<O>['values'], positionals);
  } catch (error) {
    const isUsageError = error instanceof UsageError;
    console.error(printable(isUsageError ? `${error.message}\n\n${usage}` : formatError(error)));
    process.exitCode = isUsageError ? 2 : 1;
  }
}

/** Prints each text as one line, without control characters: answers of a server hold texts of strangers. */
export function print(...lines: readonly string[]): void {
  for (const line of lines) console.log(printableLine(line));
}

/** @throws UsageError for an argument that is not among the options, or an option with two values where one counts */
function parse(args: readonly string[], options: Options, allowPositionals: boolean) {
  const { tokens, ...parsed } = parseStrictly(args, options, allowPositionals);
  const names = tokens.flatMap((it) => (it.kind === 'option' && it.value !== undefined ? [it.name] : []));
  const repeated = names.find((it, index) => names.indexOf(it) < index && !options[it]!.multiple);
  if (repeated) throw new UsageError(`Repeated option --${repeated}: expected one value.`);
  return parsed;
}

function parseStrictly(args: readonly string[], options: Options, allowPositionals: boolean) {
  try {
    return parseArgs({ args, options, allowPositionals, strict: true, tokens: true });
  } catch (error) {
    // The first sentence says what is wrong; the others explain parseArgs.
    throw new UsageError((error as Error).message.split(/\. |\n/)[0]);
  }
}

/** Node throws an AggregateError without a message when no address of a server can be reached. */
function messageOf(error: unknown): string {
  const { message, errors } = error as Error & { errors?: Error[] };
  return message || errors?.[0]?.message || String(error);
}

interface NetworkError {
  readonly code?: string;
  readonly port?: number;
  readonly errors?: NetworkError[];
}

/** For commands that send requests by `fetch`: says when no process listens at the address. */
export function formatRequestError(error: unknown): string {
  const { cause } = error as { cause?: NetworkError };
  if (!cause) return messageOf(error);
  if (cause.code !== 'ECONNREFUSED') return `${messageOf(error)}: ${messageOf(cause)}`;
  const { port } = cause.errors?.[0] ?? cause;
  return `Connection refused: no process listens on port ${port}. Is the application running?`;
}

/** @throws UsageError when the text is no port number */
export function portOf(option: string, text: string): number {
  if (!/^\d{1,5}$/.test(text) || Number(text) > 65_535) {
    throw new UsageError(`Invalid ${option} "${text}": expected a port number from 0 to 65535.`);
  }
  return Number(text);
}

/** @throws UsageError when the text is not one URL of HTTP: `localhost:3000` would be a URL with the scheme `localhost` */
export function urlOf(name: string, text: string): string {
  if (!isHttpUrl(text)) {
    throw new UsageError(`Invalid ${name} "${text}": expected an absolute URL such as http://localhost:3000.`);
  }
  return text.replace(/\/$/, '');
}

const isHttpUrl = (text: string) => /^https?:\/\/[^\s,]+$/i.test(text) && URL.canParse(text);

/**
 * The URLs of --url; default: those of an environment variable, separated by commas, else the application on this machine, at PORT.
 * @throws UsageError
 */
export function urlsOf(given: readonly string[] | undefined, variable: string): string[] {
  if (given) return given.map((it) => urlOf('--url', it));
  const urls = (process.env[variable] || `http://localhost:${process.env.PORT || 3000}`).split(',');
  return urls.map((it) => urlOf(variable, it.trim()));
}

/** As urlsOf(), for a command that calls one application. @throws UsageError, also when the variable has several URLs */
export function oneUrlOf(given: string | undefined, variable: string): string {
  const [url, ...more] = urlsOf(given === undefined ? undefined : [given], variable);
  if (more.length === 0) return url!;
  throw new UsageError(`Invalid ${variable} "${process.env[variable]}": expected one URL. Choose it with --url.`);
}

/** @throws UsageError when a text is not NAME=URL, or two have the same name */
export function namedUrlsOf(option: string, texts: readonly string[]): Record<string, string> {
  const urls = new Map<string, string>();
  for (const text of texts) {
    const [, name, url] = /^([^=]+)=(.+)$/.exec(text) ?? [];
    if (!name || !url || !isHttpUrl(url)) {
      throw new UsageError(`Invalid ${option} "${text}": expected NAME=URL.`);
    }
    if (urls.has(name)) throw new UsageError(`Repeated ${option} ${name}: expected one URL of each name.`);
    urls.set(name, url);
  }
  return Object.fromEntries(urls);
}
