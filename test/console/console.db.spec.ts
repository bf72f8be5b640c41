import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { CommandBus } from '@nestjs/cqrs';

import type { Administration } from '../../src/infrastructure/http/administration.js';
import { MeshListener } from '../../src/infrastructure/http/mesh-listener.js';
import type { MeshOptions } from '../../src/infrastructure/mesh-options.js';
import { UnitOfWork } from '../../src/infrastructure/persistence/unit-of-work.js';
import { DATABASES } from '../support/databases.js';
import { plant, Work, type Planted } from '../support/planted.js';

const TOKEN = 'the-token-of-the-administrator';
const READ_TOKEN = 'the-token-of-the-reader';
const OWN = { 'X-Mesh-Console': '1' };

describe.each(DATABASES)('The console on $kind', ({ fresh }) => {
  let planted: Planted;
  let url: string;

  const start = async (administration: Administration, options: Partial<MeshOptions> = {}) => {
    const folder = mkdtempSync(join(tmpdir(), 'cabs-console-'));
    for (const file of ['index.html', 'app.js', 'app.css', 'icon.svg'])
      writeFileSync(join(folder, file), `I am ${file}`);
    const actions = [
      { name: 'greet', label: 'Greet', run: async () => 'Hello' },
      { name: 'fail', label: 'Fail', run: () => Promise.reject(new Error('Not today')) },
    ];
    const listener = { port: 0, host: '127.0.0.1' };
    const given = { database: await fresh(), administration, console: { folder, actions }, listener, ...options };
    planted = await plant(given, {});
    url = `http://localhost:${planted.app.get(MeshListener).port}`;
  };
  afterEach(() => planted.app.close());

  const call = (method: string, path: string, headers: object = {}, body?: object) =>
    fetch(`${url}/mesh/console${path}`, {
      method,
      headers: { ...headers, ...(body && { 'Content-Type': 'application/json' }) },
      ...(body && { body: JSON.stringify(body) }),
    });
  const signIn = async (token: string) => {
    const response = await call('POST', '/session', {}, { token });
    return { response, cookie: response.headers.getSetCookie()[0]?.split(';')[0] ?? '' };
  };
  const send = (subject: string) =>
    planted.app.get(UnitOfWork).run<void>(() => planted.app.get(CommandBus).execute(new Work(subject, { n: 1 })));

  /** Reads states until one meets the condition. @param opened runs when the stream is open */
  const stateThat = async (isMet: (state: State) => boolean, opened?: () => Promise<void>): Promise<State> => {
    const response = await call('GET', '/stream');
    await opened?.();
    expect(response.headers.get('content-type')).toBe('text/event-stream');
    const reader = response.body!.getReader();
    try {
      for (let text = ''; ;) {
        const { value, done } = await reader.read();
        if (done) throw new Error('The stream has ended');
        text += Buffer.from(value).toString();
        const events = text.split('\n\n');
        text = events.pop()!;
        for (const event of events) {
          const [, data] = /^event: state\ndata: (.*)$/.exec(event)!;
          const state = JSON.parse(data!) as State;
          if (isMet(state)) return state;
        }
      }
    } finally {
      await reader.cancel();
    }
  };

  it('serves its files with a policy that lets nothing else in', async () => {
    await start({ isDevelopment: true });
    const page = await call('GET', '');
    expect(await page.text()).toBe('I am index.html');
    expect(page.headers.get('content-type')).toMatch('text/html');
    expect(page.headers.get('content-security-policy')).toMatch(/^default-src 'none'; script-src 'self';/);
    for (const [file, type] of [
      ['app.js', 'text/javascript'],
      ['app.css', 'text/css'],
      ['icon.svg', 'image/svg+xml'],
    ])
      expect((await call('GET', `/${file}`)).headers.get('content-type')).toMatch(type!);
    for (const other of ['/index.html', '/..%2Fpackage.json', '/app.js.map', '/app.js/x'])
      expect((await call('GET', other)).status).toBe(404);
  });

  it('sends what happens, once a second', async () => {
    await start({ isDevelopment: true });
    const state = await stateThat(
      ({ consumers }) => consumers.length > 0,
      () => send('a-subject'),
    );
    expect(state).toMatchObject({
      process: { pid: process.pid, modules: ['left', 'right'] },
      transport: 'in-process',
      outbox: { deadLetters: 0 },
      consumers: [{ name: 'left', handled: 1, failed: 0 }],
      edges: [{ type: 'planted.left.work', sender: 'left', consumer: 'left', count: 1, failed: 0 }],
      samples: [
        { type: 'planted.left.work', subject: 'a-subject', sender: 'left', consumer: 'left', outcome: 'handled' },
      ],
    });
  });

  it('lets few browsers watch, and none hold up the shutdown', async () => {
    await start({ isDevelopment: true });
    const streams = await Promise.all(Array.from({ length: 20 }, () => call('GET', '/stream')));
    expect(streams.map(({ status }) => status)).toEqual(streams.map(() => 200));
    expect((await call('GET', '/stream')).status).toBe(409);
    expect((await call('HEAD', '/stream')).status).toBe(200);
    const began = performance.now();
    await planted.app.close();
    expect(performance.now() - began).toBeLessThan(2500);
    await Promise.all(streams.map((it) => it.body!.cancel().catch(() => undefined)));
  });

  it('describes who sends what to whom', async () => {
    await start({ isDevelopment: true });
    const topology = (await (await call('GET', '/topology')).json()) as Topology;
    expect(topology).toMatchObject({ application: 'planted', broker: null });
    expect(topology.modules).toEqual([
      { name: 'left', isHosted: true },
      { name: 'right', isHosted: true },
    ]);
    const happened = topology.messages.find(({ name }) => name === 'Happened');
    expect(happened).toMatchObject({ kind: 'event', owner: 'left', consumers: ['left', 'right'], example: { n: 1 } });
    expect(happened?.handlers).toEqual([
      { module: 'left', name: 'LeftHandler' },
      { module: 'right', name: 'RightHandler' },
    ]);
  });

  it('makes a consumer fail, reject and slow down for a while, in development', async () => {
    await start({ isDevelopment: true }, { delivery: { retry: 0 } });
    const disturb = (body: object) => call('POST', '/faults', OWN, body);
    expect((await disturb({ consumer: 'left', kind: 'reject', seconds: 60 })).status).toBe(202);
    await send('rejected');
    const { outbox } = await stateThat((it) => it.outbox?.deadLetters === 1);
    expect(outbox?.pending).toBe(0);
    expect((await disturb({ consumer: 'nowhere', kind: 'fail', seconds: 1 })).status).toBe(404);
    for (const body of [
      { consumer: 'left', kind: 'explode', seconds: 1 },
      { consumer: 'left', kind: 'fail', seconds: 1e9 },
    ])
      expect((await disturb(body)).status).toBe(400);
  });

  it('does nothing for a page on another port of this machine', async () => {
    await start({ isDevelopment: true });
    const other = { 'Sec-Fetch-Site': 'same-site', Origin: 'http://localhost:1' };
    expect((await call('POST', '/actions/greet', other)).status).toBe(403);
    const replay = await fetch(`${url}/mesh/dead-letters/replay`, { method: 'POST', headers: other });
    expect(replay.status).toBe(403);
    expect((await call('POST', '/actions/greet', { ...other, ...OWN })).status).toBe(202);
    expect((await call('GET', '/session', other)).status).toBe(200);
  });

  it('offers the actions of the application, in development', async () => {
    await start({ isDevelopment: true });
    expect(await (await call('GET', '/session')).json()).toMatchObject({
      role: 'administrator',
      isDevelopment: true,
      needsToken: false,
      consumers: ['left', 'right'],
      actions: [
        { name: 'greet', label: 'Greet' },
        { name: 'fail', label: 'Fail' },
      ],
    });
    expect(await (await call('POST', '/actions/greet', OWN)).json()).toEqual({ message: 'Hello' });
    expect(await (await call('POST', '/actions/fail', OWN)).json()).toMatchObject({ status: 409, detail: 'Not today' });
    expect((await call('POST', '/actions/other', OWN)).status).toBe(404);
  });

  describe('in production', () => {
    it('is off without a token', async () => {
      await start({ isDevelopment: false });
      for (const path of ['', '/app.js', '/session', '/stream']) expect((await call('GET', path)).status).toBe(404);
      expect((await call('POST', '/session', {}, { token: '' })).status).toBe(404);
    });

    it('exchanges a token for a session that scripts and other sites can not use', async () => {
      await start({ token: TOKEN, readToken: READ_TOKEN, isDevelopment: false });
      expect((await call('GET', '')).status).toBe(200);
      for (const path of ['/session', '/stream', '/topology']) expect((await call('GET', path)).status).toBe(401);
      expect((await signIn('a-token-that-is-neither')).response.status).toBe(401);
      const { response, cookie } = await signIn(TOKEN);
      expect(await response.json()).toMatchObject({ role: 'administrator', isDevelopment: false, actions: [] });
      expect(response.headers.getSetCookie()[0]).toMatch(/; Path=\/; Max-Age=\d+; HttpOnly; SameSite=Strict$/);
      expect((await call('GET', '/session', { cookie })).status).toBe(200);
      const replay = (headers: object) =>
        fetch(`${url}/mesh/dead-letters/replay`, { method: 'POST', headers: { ...headers } });
      expect((await replay({ cookie })).status).toBe(403);
      expect((await replay({ cookie, ...OWN })).status).toBe(202);
      expect((await replay({ cookie, ...OWN, 'Sec-Fetch-Site': 'cross-site' })).status).toBe(403);
      for (const path of ['/faults', '/kill', '/actions/greet'])
        expect((await call('POST', path, { cookie, ...OWN })).status).toBe(404);
    });

    it('lets a reader read, and change nothing', async () => {
      await start({ token: TOKEN, readToken: READ_TOKEN, isDevelopment: false });
      const { response, cookie } = await signIn(READ_TOKEN);
      expect(await response.json()).toMatchObject({ role: 'reader' });
      for (const headers of [{ cookie, ...OWN }, { Authorization: `Bearer ${READ_TOKEN}` }] as HeadersInit[]) {
        expect((await fetch(`${url}/mesh/outbox`, { headers })).status).toBe(200);
        const refused = await fetch(`${url}/mesh/dead-letters/replay`, { method: 'POST', headers });
        expect(refused.status).toBe(403);
        expect(await refused.json()).toMatchObject({
          detail: 'This token may only read: use the administration token',
        });
      }
    });

    it('takes no session that was forged, has expired, or was signed by another token', async () => {
      await start({ token: TOKEN, readToken: READ_TOKEN, isDevelopment: false });
      const { cookie } = await signIn(READ_TOKEN);
      const [, expires, signature] = cookie.split('=')[1]!.split('.');
      const forged = [
        `administrator.${expires}.${signature}`,
        `reader.${Number(expires) + 1}.${signature}`,
        `reader.1.${signature}`,
      ];
      for (const value of [...forged, 'reader', '', 'constructor.9999999999.x', `reader.${expires}.`])
        expect((await call('GET', '/session', { cookie: `mesh-console=${value}` })).status).toBe(401);
      const ended = await call('DELETE', '/session', { cookie });
      expect(ended.headers.getSetCookie()[0]).toMatch(/^mesh-console=; Path=\/; Max-Age=0;/);
    });
  });
});

interface State {
  readonly consumers: readonly object[];
  readonly outbox?: { readonly deadLetters: number; readonly pending: number };
}

interface Topology {
  readonly modules: readonly object[];
  readonly messages: readonly { readonly name: string; readonly handlers: readonly object[] }[];
}
