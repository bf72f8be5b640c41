import { AsyncLocalStorage } from 'node:async_hooks';
import { once } from 'node:events';
import { get as httpGet, type IncomingMessage, type ServerResponse } from 'node:http';
import { connect } from 'node:net';
import { setTimeout as wait } from 'node:timers/promises';
import { jest } from '@jest/globals';
import { Logger } from '@nestjs/common';
import { Admission } from '../../src/infrastructure/http/admission.js';
import { leaveSlot } from '../../src/infrastructure/http/request-slot.js';
import { eventually } from '../support/cabs.js';
import { localServer } from '../support/local-server.js';

/** As `SLOTS` and `MAX_WAITERS` of the tests. */
const SLOTS = 32;
const WAITERS = 3;

/** Only what admission measures time by is on a clock of its own: a busy machine would miss its second. Sockets are real. */
const REAL = [
  'Date',
  'hrtime',
  'nextTick',
  'queueMicrotask',
  'setImmediate',
  'clearImmediate',
  'setInterval',
  'clearInterval',
];
const pass = (ms: number) => jest.advanceTimersByTime(ms);

describe('Admission', () => {
  let url: string;
  let port: number;
  let stop: () => void;
  let admission: Admission;
  let backlogMs: number;
  /** What the application does with a request that was admitted. */
  let handle: (request: IncomingMessage, response: ServerResponse) => unknown;
  const context = new AsyncLocalStorage<string>();
  const begun: string[] = [];
  /** Requests that were not refused on arrival. */
  let entered: number;
  let open: ServerResponse[];

  beforeAll(() => Logger.overrideLogger(false));
  beforeEach(async () => {
    jest.useFakeTimers({ doNotFake: REAL as never });
    begun.length = 0;
    entered = 0;
    open = [];
    backlogMs = 0;
    admission = new Admission(() => backlogMs, WAITERS);
    handle = (request, response) => open.push(response);
    ({ url, port, stop } = await localServer((request, response) =>
      context.run(request.url!, () =>
        admission.refuseExcess(request, response, () => {
          entered++;
          admission.enter(response, () => {
            begun.push(request.url!);
            handle(request, response);
          });
        }),
      ),
    ));
  });
  afterEach(() => {
    jest.useRealTimers();
    stop();
  });

  const send = (path: string, method = 'POST', signal?: AbortSignal) =>
    fetch(`${url}${path}`, { method, ...(signal && { signal }) });
  /** The answer to a request that may be refused, which takes some milliseconds. */
  const answerTo = async (request: Promise<Response>): Promise<Response> => {
    let answer: Response | undefined;
    void request.then((it) => (answer = it));
    return (await eventually(
      async () => (pass(1), answer),
      (it) => it !== undefined,
    ))!;
  };
  /** @returns the statuses of so many requests, all of which have entered */
  const sendMany = async (count: number, path: string, method = 'POST') => {
    const before = entered;
    const requests = Array.from({ length: count }, (_, n) => send(`${path}/${n}`, method).then(({ status }) => status));
    await eventually(
      async () => entered,
      (it) => it === before + count,
    );
    return requests;
  };
  /** Takes all slots. @returns the statuses of the requests */
  const fill = async () => {
    const requests = await sendMany(SLOTS, '/first');
    expect(begun).toHaveLength(SLOTS);
    return requests;
  };
  const answerAll = () => {
    for (const response of open.splice(0)) response.end('{}');
  };

  it('works on 32 requests at a time; the next begins when one is answered, in its own context', async () => {
    const contexts: (string | undefined)[] = [];
    const first = await fill();
    handle = (request, response) => {
      contexts.push(context.getStore());
      response.end('{}');
    };
    const second = await sendMany(10, '/second');
    expect(begun).toHaveLength(SLOTS);
    answerAll();
    expect(new Set(await Promise.all([...first, ...second]))).toEqual(new Set([200]));
    expect(contexts.sort()).toEqual(Array.from({ length: 10 }, (_, n) => `/second/${n}`));
  });

  it('does not begin a request whose client has gone', async () => {
    const first = await fill();
    const gone = new AbortController();
    const request = send('/gone', 'POST', gone.signal).catch(() => 'aborted');
    await eventually(
      async () => entered,
      (it) => it === SLOTS + 1,
    );
    gone.abort();
    await request;
    await wait(50);
    handle = (_, response) => response.end('{}');
    const next = send('/next');
    await wait(20);
    answerAll();
    expect((await next).status).toBe(200);
    expect(begun).not.toContain('/gone');
    expect(begun).toContain('/next');
    await Promise.all(first);
  });

  it('refuses a request that has waited for a second: 503, Retry-After, and nothing was begun', async () => {
    const first = await fill();
    const late = send('/late');
    await eventually(
      async () => entered,
      (it) => it === SLOTS + 1,
    );
    pass(999);
    await expect(Promise.race([late, wait(50, 'waits')])).resolves.toBe('waits');
    const refused = await answerTo(late);
    expect(refused.status).toBe(503);
    expect(refused.headers.get('retry-after')).toBe('1');
    expect(refused.headers.get('content-type')).toMatch('application/problem+json');
    expect(await refused.json()).toMatchObject({ status: 503, detail: expect.stringMatching(/try again/) });
    expect(begun).not.toContain('/late');
    answerAll();
    await Promise.all(first);
  });

  it('refuses at once when the queue is longer than a second', async () => {
    const first = await fill();
    const waiting = await sendMany(300, '/waiting');
    // One answer in 20 ms: 300 requests take 6 s.
    for (let n = 1; n <= 25; n++) {
      pass(20);
      open.shift()!.end('{}');
      await eventually(
        async () => begun.length,
        (it) => it === SLOTS + n,
      );
    }
    expect((await answerTo(send('/excess'))).status).toBe(503);
    expect(entered).toBe(SLOTS + 300);
    handle = (_, response) => response.end('{}');
    answerAll();
    expect(new Set(await Promise.all([...first, ...waiting]))).toEqual(new Set([200]));
  });

  it('lets a short queue wait, and takes on again after a time without requests', async () => {
    pass(3_600_000);
    const first = await fill();
    const second = await sendMany(20, '/second');
    pass(100);
    answerAll();
    const third = await sendMany(60, '/third', 'GET');
    handle = (_, response) => {
      pass(5);
      response.end('{}');
    };
    answerAll();
    expect(new Set(await Promise.all([...first, ...second, ...third]))).toEqual(new Set([200]));
  });

  it('answers a long queue of requests that are answered at once', async () => {
    const first = await fill();
    const waiting = await sendMany(900, '/nowhere');
    pass(500);
    handle = (_, response) => response.writeHead(404).end('{}');
    answerAll();
    expect(new Set(await Promise.all(waiting))).toEqual(new Set([404]));
    expect(new Set(await Promise.all(first))).toEqual(new Set([200]));
    expect((await send('/after')).status).toBe(404);
  });

  it('gives the slots of requests that wait for another process to others, also when they have waited for one', async () => {
    const first = await fill();
    const slow = await sendMany(100, '/slow');
    pass(200);
    const [early, late] = [open.splice(0), open];
    handle = (_, response) => {
      leaveSlot();
      late.push(response);
    };
    for (const response of early) response.end('{}');
    await Promise.all(first);
    await eventually(
      async () => begun.length,
      (it) => it === SLOTS + 100,
    );
    handle = (_, response) => response.end('{}');
    expect((await send('/next')).status).toBe(200);
    answerAll();
    expect(new Set(await Promise.all(slow))).toEqual(new Set([200]));
  });

  it('takes no more work after messages have piled up for a second; reads go on', async () => {
    handle = (_, response) => response.end('{}');
    backlogMs = 5000;
    expect((await send('/work')).status).toBe(200);
    pass(600);
    expect((await send('/work')).status).toBe(200);
    pass(600);
    const refused = await answerTo(send('/work'));
    expect(refused.status).toBe(503);
    expect(refused.headers.get('retry-after')).toBe('5');
    expect((await send('/work', 'GET')).status).toBe(200);
    backlogMs = 0;
    expect((await send('/work')).status).toBe(200);
  });

  it.each([
    ['at once', undefined],
    ['after promises, as behind guards', 10],
  ])('requests that read without a pause, %s, leave others their turn', async (_name, promises = 0) => {
    jest.useRealTimers();
    handle = async (_, response) => {
      for (let n = 0; n < promises; n++) await Promise.resolve();
      for (const until = performance.now() + 30; performance.now() < until;);
      response.end('{}');
    };
    // Node accepts one connection in a turn, so they are there before.
    const sockets = await Promise.all(
      Array.from({ length: 120 }, async () => {
        const socket = connect(port, '127.0.0.1').on('error', () => undefined);
        await once(socket, 'connect');
        return socket;
      }),
    );
    await wait(200);
    let [last, longest] = [performance.now(), 0];
    const timer = setInterval(() => {
      longest = Math.max(longest, performance.now() - last);
      last = performance.now();
    }, 1);
    const statuses = await Promise.all(
      sockets.map(async (socket, n) => {
        socket.write(`GET /list/${n} HTTP/1.1\r\nHost: localhost\r\n\r\n`);
        const [answer] = (await once(socket, 'data')) as [Buffer];
        socket.destroy();
        return answer.toString('latin1', 9, 12);
      }),
    );
    clearInterval(timer);
    // One after the other, without a pause, they would take 3.6 s.
    expect(longest).toBeLessThan(1200);
    expect(new Set(statuses)).toEqual(new Set(['200', '503']));
  });

  it('few requests wait for an outcome, and they need no slot', async () => {
    let finish!: () => void;
    const outcome = new Promise<string>((resolve) => (finish = () => resolve('outcome')));
    handle = async (_, response) => response.end((await admission.whileWaiting(response, () => outcome)) ?? 'none');
    const texts = Array.from({ length: WAITERS + 2 }, async (_, n) => (await send(`/wait/${n}`)).text());
    expect(await Promise.all(texts.slice(WAITERS))).toEqual(['none', 'none']);
    handle = (_, response) => open.push(response);
    begun.length = 0;
    const others = await fill();
    answerAll();
    await Promise.all(others);
    finish();
    expect(await Promise.all(texts.slice(0, WAITERS))).toEqual(['outcome', 'outcome', 'outcome']);
  });

  it('a client that does not read its answer holds no slot', async () => {
    handle = (_, response) => response.end(Buffer.alloc(5_000_000));
    for (let n = 0; n < SLOTS; n++) httpGet({ host: '127.0.0.1', port, path: '/unread' }).on('error', () => undefined);
    await eventually(
      async () => begun.length,
      (it) => it === SLOTS,
    );
    handle = (_, response) => response.end('{}');
    expect((await send('/next')).status).toBe(200);
  });
});
