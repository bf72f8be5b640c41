import { readFileSync } from 'node:fs';
import { DIFFERENCES } from '../../tools/broker/differences.js';
import type { Reply } from './broker-requests.js';

/* Recordings of a real broker, and their comparison with the laptop broker. */

/** The recorded versions of Knative Eventing. */
export type Version = '1.12.6' | '1.18.4';

/** Reads a recording of a version from the fixtures. */
export function capture<T>(version: Version, name: string): T {
  const file = new URL(`../fixtures/knative/${version}/${name}.json`, import.meta.url);
  return JSON.parse(readFileSync(file, 'utf8')) as T;
}

type Headers = [string, string | Filling][];
interface Filling {
  readonly repeat: string;
  readonly length: number;
  readonly starts?: string;
  readonly ends?: string;
}
export interface Exchange {
  readonly name: string;
  readonly method: string;
  readonly path: string;
  readonly headers: Headers;
  readonly body?: string | Filling;
  readonly bodyBase64?: string;
  readonly response: { status: number; headers: Record<string, string>; body?: string };
  readonly forwarded?: {
    method: string;
    path: string;
    headers: Record<string, string>;
    body?: string;
    answer: Reply;
  }[];
}

const filled = (it: string | Filling) => {
  if (typeof it === 'string') return it;
  const { starts = '', repeat, length, ends = '' } = it;
  return starts + repeat.repeat(length - starts.length - ends.length) + ends;
};
export const headersOf = ({ headers }: Exchange) =>
  headers.map(([name, value]) => [name, filled(value)] as [string, string]);
export const bodyOf = ({ body = '', bodyBase64 }: Exchange) =>
  bodyBase64 ? Buffer.from(bodyBase64, 'base64') : filled(body);

/** The cases of a recording in the list of differences. */
const listed = (version: Version, file: string) => {
  const prefixes = [`${file}: `, `${version} ${file}: `];
  const all = DIFFERENCES.flatMap(({ captures }) => captures);
  const of = (prefix: string) => all.filter((name) => name.startsWith(prefix)).map((name) => name.slice(prefix.length));
  return prefixes.flatMap(of).sort();
};

/** Headers that differ in all requests, and headers that belong to a connection. */
export const ALWAYS = DIFFERENCES.flatMap(({ headers = [] }) => headers);
const OF_THE_CONNECTION = ['host', 'connection', 'keep-alive', 'date', 'content-length', 'transfer-encoding'];

export function without(headers: Record<string, string>, ...names: string[]): Record<string, string> {
  const unwanted = [...ALWAYS, ...OF_THE_CONNECTION, ...names];
  return Object.fromEntries(Object.entries(headers).filter(([name]) => !unwanted.includes(name)));
}

/** The cases for which `check` throws, by name, with the messages of the errors. */
export async function differing<Case extends { name: string }>(
  cases: readonly Case[],
  check: (it: Case) => Promise<void>,
) {
  const names: string[] = [];
  const details: Record<string, string> = {};
  for (const it of cases) {
    try {
      await check(it);
    } catch (error) {
      names.push(it.name);
      details[it.name] = (error as Error).message;
    }
  }
  return { names: names.sort(), details };
}

export function expectDifferences(
  found: { names: string[]; details: Record<string, string> },
  version: Version,
  file: string,
): void {
  const wanted = listed(version, file);
  const unlisted = found.names.filter((name) => !wanted.includes(name));
  expect(unlisted.map((name) => `${name}\n${found.details[name]}`)).toEqual([]);
  expect(found.names).toEqual(wanted);
}
