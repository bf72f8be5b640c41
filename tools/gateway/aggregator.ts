import { request as send, type Dispatcher } from 'undici';
import type { OutboxStatistics } from '../../src/infrastructure/store/statistics.js';
import type { Service } from './forwarding.js';

/** Longest wait for the answer of a process to a GET, in ms. */
const READ_TIMEOUT_MS = 5000;

/** The answer of a process. */
export interface Answer {
  readonly service: Service;
  readonly status: number;
  readonly body: Record<string, unknown>;
}

/** A process answered with an error that holds for all processes: the request is not authorised, or not valid. */
export class ErrorAnswer extends Error {
  override readonly name = 'ErrorAnswer';

  constructor(readonly answer: Answer) {
    super(`${answer.service.name} answered ${answer.status}`);
  }
}

/** A process that is needed for the answer can't be reached. */
export class Unreachable extends Error {
  override readonly name = 'Unreachable';
}

export interface Upstreams {
  /** Processes of the application, at the mesh's ports: the modules, and the one that keeps dead letters. */
  readonly services: readonly Service[];
  /** The same processes at their public ports, which serve the API pages. */
  readonly pages: readonly Service[];
  /** A laptop broker answers some of the same paths. */
  readonly broker?: Service;
  readonly dispatcher: Dispatcher;
}

/** Sends the request of a client to several processes, and combines their answers. */
export class Aggregator {
  constructor(
    readonly upstreams: Upstreams,
    private readonly headers: Record<string, string>,
  ) {}

  get allServices(): readonly Service[] {
    const { services, broker } = this.upstreams;
    return broker ? [...services, broker] : services;
  }

  /** @returns undefined when the process can't be reached, or answers with 500 or above */
  async request(service: Service, method: Dispatcher.HttpMethod, path: string): Promise<Answer | undefined> {
    const answer = await this.send(service, method, path);
    if (!answer || answer.status >= 500) return undefined;
    try {
      const body = (answer.text === '' ? {} : JSON.parse(answer.text)) as Record<string, unknown>;
      return { service, status: answer.status, body };
    } catch {
      return undefined;
    }
  }

  /**
   * @returns the text that a process answers; undefined when it can't be reached, or has none
   * @throws ErrorAnswer when it refuses the request
   */
  async text(service: Service, path: string): Promise<string | undefined> {
    const answer = await this.send(service, 'GET', path);
    if (answer?.status === 200) return answer.text;
    const refused = answer && answer.status < 500 && (await this.request(service, 'GET', path));
    if (refused) throw new ErrorAnswer(refused);
    return undefined;
  }

  /** Sends JSON. @returns undefined when the process can't be reached */
  async post(service: Service, path: string, body?: object): Promise<Answer | undefined> {
    const answer = await this.send(service, 'POST', path, body);
    return answer && { service, status: answer.status, body: JSON.parse(answer.text) as Record<string, unknown> };
  }

  private async send(service: Service, method: Dispatcher.HttpMethod, path: string, body?: object) {
    const headers = { ...this.headers, ...(body && { 'content-type': 'application/json' }) };
    const { dispatcher } = this.upstreams;
    // Only reading has a timeout: a person is waiting, and wants to know that a process hangs.
    const signal = method === 'GET' ? AbortSignal.timeout(READ_TIMEOUT_MS) : undefined;
    try {
      const answer = await send(service.url + path, {
        method,
        headers,
        dispatcher,
        signal,
        ...(body && { body: JSON.stringify(body) }),
      });
      return { status: answer.statusCode, text: await answer.body.text() };
    } catch {
      return undefined;
    }
  }

  /**
   * Sends a request to all processes. An error of the broker is ignored, as it doesn't know all paths.
   * @returns all answers, and the names of the processes without one
   * @throws ErrorAnswer when a process refuses the request
   */
  async requestAll(method: Dispatcher.HttpMethod, path: string): Promise<{ answers: Answer[]; missing: string[] }> {
    const answers = await Promise.all(this.allServices.map((service) => this.request(service, method, path)));
    const received = answers.filter((it) => it !== undefined);
    const { broker } = this.upstreams;
    const refused = received.find(({ service, status }) => service !== broker && status >= 400);
    if (refused) throw new ErrorAnswer(refused);
    return {
      answers: received.filter(({ status }) => status < 400),
      missing: this.allServices.filter((_, index) => !answers[index]).map(({ name }) => name),
    };
  }

  /**
   * Adds up the pending messages of all processes. They count at different moments, so a message may be missed or counted
   * twice.
   */
  async outbox(query = ''): Promise<object> {
    const { answers, missing } = await this.requestAll('GET', `/mesh/outbox?${query}`);
    const each = answers.map(({ service, body }) => [service.name, body as unknown as OutboxStatistics] as const);
    const sum = (of: 'pending' | 'ready' | 'retrying' | 'deadLetters') =>
      each.reduce((total, [, statistics]) => total + statistics[of], 0);
    const consumers = new Map<string, number>();
    for (const [, statistics] of each) {
      for (const [name, n] of Object.entries(statistics.consumers)) consumers.set(name, (consumers.get(name) ?? 0) + n);
    }
    return {
      pending: sum('pending'),
      ready: sum('ready'),
      retrying: sum('retrying'),
      deadLetters: sum('deadLetters'),
      lagMs: Math.max(0, ...each.map(([, { lagMs }]) => lagMs)),
      consumers: Object.fromEntries(consumers),
      processes: { ...Object.fromEntries(each), ...Object.fromEntries(missing.map((name) => [name, 'unreachable'])) },
    };
  }

  /** The AsyncAPI document, which every process has. @throws ErrorAnswer, Unreachable */
  async asyncApi(query: string): Promise<object> {
    const { services } = this.upstreams;
    const answers = await Promise.all(services.map((it) => this.request(it, 'GET', `/asyncapi.json?${query}`)));
    const [first] = answers.filter((it) => it !== undefined);
    if (!first) throw new Unreachable('No process is running that could describe its messages');
    if (first.status >= 400) throw new ErrorAnswer(first);
    return first.body;
  }

  /** The reconciliation runs of all modules. @throws ErrorAnswer */
  async reconciliations(method: 'GET' | 'POST', rest: string): Promise<object> {
    const { answers, missing } = await this.requestAll(method, `/mesh/reconciliations${rest}`);
    const items = answers.flatMap(({ body }) => body.items as object[]);
    return { items, ...(missing.length > 0 && { unreachable: missing }) };
  }

  /** @throws Unreachable with the names of the processes that are not ready */
  async ready(): Promise<object> {
    const isNotReady = await Promise.all(
      this.allServices.map(async (service) => {
        const isBroker = service === this.upstreams.broker;
        const answer = await this.request(service, 'GET', isBroker ? '/mesh/outbox' : '/health/ready');
        return isBroker ? answer === undefined : answer?.status !== 200;
      }),
    );
    const names = this.allServices.filter((_, index) => isNotReady[index]).map(({ name }) => name);
    if (names.length > 0) throw new Unreachable(`Not ready: ${names.join(', ')}`);
    return { status: 'ready' };
  }

  /**
   * Combines the API documents of all processes that can be reached.
   * @param isAnswered whether the gateway serves a path
   */
  async document(isAnswered: (path: string) => boolean): Promise<object> {
    const { pages } = this.upstreams;
    const answers = await Promise.all(pages.map((service) => this.request(service, 'GET', '/api-json')));
    const documents = answers.filter((it) => it?.status === 200).map((it) => it!.body as OpenApi);
    if (documents.length === 0) throw new Unreachable('No process is running that could describe its API');
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
