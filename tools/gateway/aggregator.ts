import { request as send, type Dispatcher } from 'undici';
import type { OutboxStatistics } from '../../src/infrastructure/store/statistics.js';
import type { Service } from './forwarding.js';

/** Longest wait for one process that is asked for what it knows, in ms. */
const READ_TIMEOUT_MS = 5000;

/** What a process answered. */
export interface Answer {
  readonly service: Service;
  readonly status: number;
  readonly body: Record<string, unknown>;
}

/** An answer that is everybody's: whoever asks isn't allowed to, or hasn't said it well. */
export class ErrorAnswer extends Error {
  override readonly name = 'Refused';

  constructor(readonly answer: Answer) {
    super(`${answer.service.name} answered ${answer.status}`);
  }
}

/** Some process had to be asked, and wasn't there. */
export class Unreachable extends Error {
  override readonly name = 'Unreachable';
}

export interface Upstreams {
  /** Processes of the application: the modules, and the one that keeps dead letters. */
  readonly services: readonly Service[];
  /** It may tell what it holds, under the same paths. */
  readonly broker?: Service;
  readonly dispatcher: Dispatcher;
}

/** Asks several processes the same, on behalf of one client. */
export class Aggregator {
  constructor(
    readonly upstreams: Upstreams,
    private readonly headers: Record<string, string>,
  ) {}

  get all(): readonly Service[] {
    const { services, broker } = this.upstreams;
    return broker ? [...services, broker] : services;
  }

  /** @returns undefined when it isn't there, or out of order */
  async ask(service: Service, method: Dispatcher.HttpMethod, path: string): Promise<Answer | undefined> {
    const { headers } = this;
    const { dispatcher } = this.upstreams;
    // A look is for people, who'd rather hear of a process that hangs.
    const signal = method === 'GET' ? AbortSignal.timeout(READ_TIMEOUT_MS) : undefined;
    try {
      const answer = await send(service.url + path, { method, headers, dispatcher, signal });
      const text = await answer.body.text();
      const body = (text === '' ? {} : JSON.parse(text)) as Record<string, unknown>;
      return answer.statusCode < 500 ? { service, status: answer.statusCode, body } : undefined;
    } catch {
      return undefined;
    }
  }

  /**
   * The answers of those who gave one, and the names of those who gave none. What a broker doesn't know it need not tell.
   * @throws Refused
   */
  async askAll(method: Dispatcher.HttpMethod, path: string): Promise<{ answers: Answer[]; missing: string[] }> {
    const answers = await Promise.all(this.all.map((service) => this.ask(service, method, path)));
    const answer = answers.filter((it) => it !== undefined);
    const { broker } = this.upstreams;
    const refused = answer.find(({ service, status }) => service !== broker && status >= 400);
    if (refused) throw new ErrorAnswer(refused);
    return {
      answers: answer.filter(({ status }) => status < 400),
      missing: this.all.filter((_, index) => !answers[index]).map(({ name }) => name),
    };
  }

  /** What is on its way anywhere. Each process counts at a moment of its own: a message may slip past, or be seen twice. */
  async outbox(): Promise<object> {
    const { answers, missing } = await this.askAll('GET', '/mesh/outbox');
    const each = answers.map(({ service, body }) => [service.name, body as unknown as OutboxStatistics] as const);
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
    const { answers, missing } = await this.askAll(method, `/mesh/reconciliations${rest}`);
    const items = answers.flatMap(({ body }) => body.items as object[]);
    return { items, ...(missing.length > 0 && { unreachable: missing }) };
  }

  /** @throws Unreachable that names those who aren't ready */
  async ready(): Promise<object> {
    const waiting = await Promise.all(
      this.all.map(async (service) => {
        const isBroker = service === this.upstreams.broker;
        const answer = await this.ask(service, 'GET', isBroker ? '/mesh/outbox' : '/health/ready');
        return isBroker ? answer === undefined : answer?.status !== 200;
      }),
    );
    const names = this.all.filter((_, index) => waiting[index]).map(({ name }) => name);
    if (names.length > 0) throw new Unreachable(`Not ready: ${names.join(', ')}`);
    return { status: 'ready' };
  }

  /** One API document of all that the front door answers, from those who can be asked now. */
  async document(isAnswered: (path: string) => boolean): Promise<object> {
    const { services } = this.upstreams;
    const answers = await Promise.all(services.map((service) => this.ask(service, 'GET', '/api-json')));
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
