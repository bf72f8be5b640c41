import { request as send, type Dispatcher } from 'undici';
import type { OutboxStatistics } from '../../src/infrastructure/store/statistics.js';
import type { Member } from './forwarding.js';

/** Longest wait for one process that is asked for what it knows, in ms. */
const LOOK_MS = 5000;

/** What a process answered. */
export interface Told {
  readonly member: Member;
  readonly status: number;
  readonly body: Record<string, unknown>;
}

/** An answer that is everybody's: whoever asks isn't allowed to, or hasn't said it well. */
export class Refused extends Error {
  override readonly name = 'Refused';

  constructor(readonly told: Told) {
    super(`${told.member.name} answered ${told.status}`);
  }
}

/** Some process had to be asked, and wasn't there. */
export class Unreachable extends Error {
  override readonly name = 'Unreachable';
}

export interface Around {
  /** Processes of the application: the modules, and the one that keeps dead letters. */
  readonly members: readonly Member[];
  /** It may tell what it holds, under the same paths. */
  readonly broker?: Member;
  readonly dispatcher: Dispatcher;
}

/** Asks several processes the same, on behalf of one client. */
export class Gathering {
  constructor(
    readonly around: Around,
    private readonly headers: Record<string, string>,
  ) {}

  get members(): readonly Member[] {
    const { members, broker } = this.around;
    return broker ? [...members, broker] : members;
  }

  /** @returns undefined when it isn't there, or out of order */
  async ask(member: Member, method: Dispatcher.HttpMethod, path: string): Promise<Told | undefined> {
    const { headers } = this;
    const { dispatcher } = this.around;
    // A look is for people, who'd rather hear of a process that hangs.
    const signal = method === 'GET' ? AbortSignal.timeout(LOOK_MS) : undefined;
    try {
      const answer = await send(member.url + path, { method, headers, dispatcher, signal });
      const text = await answer.body.text();
      const body = (text === '' ? {} : JSON.parse(text)) as Record<string, unknown>;
      return answer.statusCode < 500 ? { member, status: answer.statusCode, body } : undefined;
    } catch {
      return undefined;
    }
  }

  /**
   * The answers of those who gave one, and the names of those who gave none. What a broker doesn't know it need not tell.
   * @throws Refused
   */
  async askAll(method: Dispatcher.HttpMethod, path: string): Promise<{ told: Told[]; missing: string[] }> {
    const answers = await Promise.all(this.members.map((member) => this.ask(member, method, path)));
    const told = answers.filter((it) => it !== undefined);
    const { broker } = this.around;
    const refused = told.find(({ member, status }) => member !== broker && status >= 400);
    if (refused) throw new Refused(refused);
    return {
      told: told.filter(({ status }) => status < 400),
      missing: this.members.filter((_, index) => !answers[index]).map(({ name }) => name),
    };
  }

  /** What is on its way anywhere. Each process counts at a moment of its own: a message may slip past, or be seen twice. */
  async outbox(): Promise<object> {
    const { told, missing } = await this.askAll('GET', '/mesh/outbox');
    const each = told.map(({ member, body }) => [member.name, body as unknown as OutboxStatistics] as const);
    const sum = (of: 'pending' | 'ready' | 'retrying' | 'deadLetters') =>
      each.reduce((total, [, statistics]) => total + statistics[of], 0);
    const consumers: Record<string, number> = {};
    for (const [, statistics] of each) {
      for (const [name, n] of Object.entries(statistics.consumers)) consumers[name] = (consumers[name] ?? 0) + n;
    }
    return {
      pending: sum('pending'),
      ready: sum('ready'),
      retrying: sum('retrying'),
      deadLetters: sum('deadLetters'),
      lagMs: Math.max(0, ...each.map(([, { lagMs }]) => lagMs)),
      consumers,
      processes: { ...Object.fromEntries(each), ...Object.fromEntries(missing.map((name) => [name, 'unreachable'])) },
    };
  }

  /** The reconcile loops of those who have one, each with the module's own process. @throws Refused */
  async reconciliations(method: 'GET' | 'POST', rest: string): Promise<object> {
    const { told, missing } = await this.askAll(method, `/mesh/reconciliations${rest}`);
    const items = told.flatMap(({ body }) => body.items as object[]);
    return { items, ...(missing.length > 0 && { unreachable: missing }) };
  }

  /** @throws Unreachable that names those who aren't ready */
  async ready(): Promise<object> {
    const waiting = await Promise.all(
      this.members.map(async (member) => {
        const isBroker = member === this.around.broker;
        const told = await this.ask(member, 'GET', isBroker ? '/mesh/outbox' : '/health/ready');
        return isBroker ? told === undefined : told?.status !== 200;
      }),
    );
    const names = this.members.filter((_, index) => waiting[index]).map(({ name }) => name);
    if (names.length > 0) throw new Unreachable(`Not ready: ${names.join(', ')}`);
    return { status: 'ready' };
  }

  /** One API document of all that the front door answers, from those who can be asked now. */
  async document(isAnswered: (path: string) => boolean): Promise<object> {
    const { members } = this.around;
    const answers = await Promise.all(members.map((member) => this.ask(member, 'GET', '/api-json')));
    const documents = answers.filter((it) => it?.status === 200).map((it) => it!.body as OpenApi);
    if (documents.length === 0) throw new Unreachable('No process can be asked for its API now');
    const merged = documents.reduce((all, one) => ({
      ...all,
      paths: { ...all.paths, ...one.paths },
      components: {
        ...all.components,
        schemas: { ...all.components?.schemas, ...one.components?.schemas },
      },
    }));
    const paths = Object.entries(merged.paths).filter(([path]) => isAnswered(path));
    return { ...merged, paths: Object.fromEntries(paths) };
  }
}

interface OpenApi extends Record<string, unknown> {
  readonly paths: Record<string, object>;
  readonly components?: { readonly schemas?: object };
}
