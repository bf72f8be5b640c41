import type { DeadLetter } from '../../src/infrastructure/dead-letters/dead-letters.js';
import type { Member } from './forwarding.js';
import { Refused, Unreachable, type Gathering, type Told } from './aggregator.js';

/* The dead letters of all processes, as if one had kept them. */

/** The most that a process lists at once. */
const PAGE = 100;

/** The latest first, or counted by cause. @throws Refused */
export async function listDeadLetters(gathering: Gathering, query: string): Promise<object> {
  const given = new URLSearchParams(query);
  const { told, missing } = await gathering.askAll('GET', `/mesh/dead-letters?${query}`);
  const total = told.reduce((sum, { body }) => sum + Number(body.total), 0);
  const incomplete = missing.length > 0 ? { unreachable: missing } : {};
  if (given.has('by')) return { total, causes: causesOf(told), ...incomplete };
  const [page, size] = [Number(given.get('page') ?? 1), Number(given.get('size') ?? 20)];
  const from = (page - 1) * size;
  const items: DeadLetter[] = [];
  if (from < total) {
    let position = 0;
    for await (const letter of merged(told.map(({ member }) => letters(gathering, member, given)))) {
      if (position++ >= from) items.push(letter);
      if (items.length === size) break;
    }
  }
  return { items, page, size, total, ...incomplete };
}

interface Cause {
  readonly consumer: string;
  readonly type: string;
  readonly cause: string;
  readonly count: number;
  readonly firstAt?: string;
  readonly lastAt?: string;
}

function causesOf(told: readonly Told[]): Cause[] {
  const causes = new Map<string, Cause>();
  for (const one of told.flatMap(({ body }) => body.causes as Cause[])) {
    const key = JSON.stringify([one.consumer, one.type, one.cause]);
    const same = causes.get(key);
    const times = [one.firstAt, same?.firstAt, one.lastAt, same?.lastAt].filter((it) => it !== undefined).sort();
    const [firstAt, lastAt] = [times[0], times.at(-1)];
    causes.set(key, { ...one, count: one.count + (same?.count ?? 0), ...(firstAt && { firstAt, lastAt }) });
  }
  return [...causes.values()].sort((a, b) => b.count - a.count).slice(0, PAGE);
}

/** Those of one process, the latest first, fetched as they are needed. */
async function* letters(gathering: Gathering, member: Member, given: URLSearchParams): AsyncGenerator<DeadLetter> {
  for (let page = 1; ; page++) {
    const query = new URLSearchParams(given);
    query.set('page', String(page));
    query.set('size', String(PAGE));
    const told = await gathering.ask(member, 'GET', `/mesh/dead-letters?${query}`);
    const items = (told?.body.items ?? []) as DeadLetter[];
    yield* items;
    if (items.length < PAGE) return;
  }
}

async function* merged(sources: readonly AsyncGenerator<DeadLetter>[]): AsyncGenerator<DeadLetter> {
  const next = async (source: AsyncGenerator<DeadLetter>) => ({ source, head: await source.next() });
  let heads = await Promise.all(sources.map(next));
  for (;;) {
    heads = heads.filter(({ head }) => !head.done);
    if (heads.length === 0) return;
    const latest = heads.reduce((a, b) => (comesFirst(b.head.value as DeadLetter, a.head.value as DeadLetter) ? b : a));
    yield latest.head.value as DeadLetter;
    heads[heads.indexOf(latest)] = await next(latest.source);
  }
}

function comesFirst(a: DeadLetter, b: DeadLetter): boolean {
  return a.deadAt === b.deadAt ? a.id < b.id : a.deadAt > b.deadAt;
}

/**
 * The process that keeps a dead letter.
 * @throws Refused when nobody does, or the id is none
 * @throws Unreachable when one that can't be asked may keep it
 */
export async function keeperOf(gathering: Gathering, id: string): Promise<Member> {
  const answers = await Promise.all(
    gathering.members.map((member) => gathering.ask(member, 'GET', `/mesh/dead-letters/${id}`)),
  );
  const told = answers.filter((it) => it !== undefined);
  const keeper = told.find(({ status }) => status === 200);
  if (keeper) return keeper.member;
  const missing = gathering.members.filter((_, index) => !answers[index]).map(({ name }) => name);
  const [refused] = told.filter(({ status }) => status !== 404);
  if (refused) throw new Refused(refused);
  if (missing.length > 0) throw new Unreachable(`Nobody else has it, and ${missing.join(', ')} can't be asked now`);
  throw new Refused(told[0]!);
}

/** Gives all that match back, wherever they are kept. @throws Refused before anything has happened */
export async function replayDeadLetters(gathering: Gathering, query: string): Promise<object> {
  const replay = (member: Member) => gathering.ask(member, 'POST', `/mesh/dead-letters/replay?${query}`);
  const { members, broker } = gathering.around;
  const answers = await Promise.all(members.map(replay));
  // A conflict is one process's; all other refusals would be everybody's. The broker comes last: it refuses nobody.
  const refused = answers.find((told) => told && told.status >= 400 && told.status !== 409);
  if (refused) throw new Refused(refused);
  if (broker) answers.push(await replay(broker));
  let replayed = 0;
  const failures: Record<string, unknown> = {};
  for (const [index, { name }] of gathering.members.entries()) {
    const told = answers[index];
    if (told?.status === 202) replayed += Number(told.body.replayed);
    // What a broker doesn't know it need not tell.
    else if (told?.status !== 404) failures[name] = told?.body.detail ?? 'unreachable';
  }
  return { replayed, ...(Object.keys(failures).length > 0 && { processes: failures }) };
}
