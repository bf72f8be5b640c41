import { RefusedError } from '../errors.js';

/*
 * JSON whose values keep their bytes. `JSON.parse` would round large numbers, drop all but the last of equal keys, and put
 * keys that are integers first. Text is Latin-1 here: one character for each byte of UTF-8.
 */

/** Deepest nesting of JSON, as in Go's decoder. */
const MAX_DEPTH = 10_000;

/** A key of a JSON object, and the text of its value. */
export type Member = readonly [key: string, value: string];

/** The members of a JSON object in their order, also those with equal keys. @throws RefusedError for any other text */
export function membersOf(text: string): Member[] {
  assertObject(text);
  const members: Member[] = [];
  // The text is valid JSON, so it is enough to find the ends of keys and values.
  for (let at = afterSpace(text, text.indexOf('{') + 1); text[at] !== '}';) {
    const keyEnd = afterString(text, at);
    const start = afterSpace(text, text.indexOf(':', keyEnd) + 1);
    const end = afterValue(text, start);
    members.push([valueOf(text.slice(at, keyEnd)) as string, text.slice(start, end)]);
    at = afterSpace(text, end);
    if (text[at] === ',') at = afterSpace(text, at + 1);
  }
  return members;
}

/** Parses the text of a value. */
export function valueOf(text: string): unknown {
  return JSON.parse(Buffer.from(text, 'latin1').toString('utf8'));
}

/** Removes the whitespace between the tokens of a JSON value. */
export function withoutSpace(text: string): string {
  let result = '';
  for (let at = 0; at < text.length;) {
    const quote = text.indexOf('"', at);
    const stringStart = quote < 0 ? text.length : quote;
    const next = quote < 0 ? text.length : afterString(text, quote);
    result += text.slice(at, stringStart).replace(/[ \t\n\r]+/g, '') + text.slice(stringStart, next);
    at = next;
  }
  return result;
}

/** Before the parser sees the text: it keeps something for each level. */
function assertShallow(text: string): void {
  let depth = 0;
  for (let at = 0; at < text.length; at++) {
    const character = text[at];
    if (character === '"') at = endOfString(text, at);
    else if (character === '{' || character === '[') depth++;
    else if (character === '}' || character === ']') depth--;
    if (depth > MAX_DEPTH) throw new RefusedError(`The body is nested deeper than ${MAX_DEPTH} levels`);
  }
}

/** The position of the closing quote, or the end of a text that is no JSON. */
function endOfString(text: string, start: number): number {
  let at = start + 1;
  while (at < text.length && text[at] !== '"') at += text[at] === '\\' ? 2 : 1;
  return at;
}

function assertObject(text: string): void {
  assertShallow(text);
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch {
    throw new RefusedError('The body is no JSON');
  }
  if (typeof json !== 'object' || json === null || Array.isArray(json))
    throw new RefusedError('The body is no JSON object');
}

function afterSpace(text: string, start: number): number {
  let at = start;
  while (isSpace(text[at])) at++;
  return at;
}

/** @param start the position of the opening quote */
function afterString(text: string, start: number): number {
  for (let quote = text.indexOf('"', start + 1); ; quote = text.indexOf('"', quote + 1)) {
    let first = quote;
    while (text[first - 1] === '\\') first--;
    // An odd number of backslashes escapes the quote.
    if ((quote - first) % 2 === 0) return quote + 1;
  }
}

function afterValue(text: string, start: number): number {
  let depth = 0;
  for (let at = start; ;) {
    const character = text[at]!;
    const isEnd = character === '}' || character === ']';
    // The end of a number, true, false or null.
    if (depth === 0 && (isEnd || character === ',' || isSpace(character))) return at;
    at = character === '"' ? afterString(text, at) : at + 1;
    if (character === '{' || character === '[') depth++;
    if (isEnd) depth--;
    if (depth === 0 && (isEnd || character === '"')) return at;
  }
}

function isSpace(character: string | undefined): boolean {
  return character === ' ' || character === '\n' || character === '\r' || character === '\t';
}
