import { Logger } from '@nestjs/common';
import { errorMessage } from './error-message.js';
import { cutText, isError, serializeError } from './serialize-error.js';

/**
 * A logger of Nest for facts and a text. An application with a structured logger gets the facts as fields, any other one
 * gets one line of text.
 */
export class MeshLogger extends Logger {
  /** Whether the logger of the application takes an object before the text, as `PinoLogger` does. */
  static isStructured = false;

  /** Whether `message()` logs anything: callers that are in a hurry gather no facts otherwise. */
  static get logsMessages(): boolean {
    return MeshLogger.isStructured || Logger.isLevelEnabled('debug');
  }

  /** Logs what happens with each message: at `debug`, unless the application has a structured logger. */
  message(facts: object, text: string): void {
    if (MeshLogger.isStructured) this.log(facts, text);
    else if (MeshLogger.logsMessages) this.debug(facts, text);
  }

  override log(facts: object, text: string): void {
    super.log(...argumentsOf(facts, text));
  }

  override warn(facts: object, text: string): void {
    super.warn(...argumentsOf(facts, text));
  }

  override debug(facts: object, text: string): void {
    super.debug(...argumentsOf(facts, text));
  }

  override error(facts: object, text: string): void {
    if (MeshLogger.isStructured) return super.error(facts, text);
    const { err } = facts as { err?: unknown };
    super.error(lineOf(facts, text), isError(err) ? serializeError(err).stack : undefined);
  }
}

function argumentsOf(facts: object, text: string): [unknown, ...string[]] {
  return MeshLogger.isStructured ? [facts, text] : [lineOf(facts, text)];
}

/** `text: key=value …`, without the fields of errors, which may hold parameters of statements. */
function lineOf(facts: object, text: string): string {
  const known = Object.entries(facts).filter(([, value]) => value !== undefined);
  const pairs = known.map(([name, value]: [string, unknown]) => `${name}=${textOf(value)}`);
  return pairs.length > 0 ? `${text}: ${pairs.join(' ')}` : text;
}

function textOf(value: unknown): string {
  if (isError(value)) return JSON.stringify(errorMessage(value));
  return cutText(typeof value === 'string' ? value : JSON.stringify(value));
}
