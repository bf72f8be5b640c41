import { setTimeout as wait } from 'node:timers/promises';
import { Slots } from '../../src/infrastructure/http/slots.js';
import { eventually } from '../support/cabs.js';
import { localServer } from '../support/local-server.js';

describe('Slots', () => {
  let url: string;
  let stop: () => void;
  const begun: string[] = [];
  const finish = new Map<string, (error?: Error) => void>();

  beforeEach(async () => {
    const slots = new Slots(2);
    begun.length = 0;
    ({ url, stop } = await localServer((request, response) => {
      const path = request.url!;
      const work = () =>
        new Promise<void>((resolve, reject) => {
          begun.push(path);
          finish.set(path, (error) => (error ? reject(error) : resolve()));
        });
      slots.run(response, work).then(
        () => response.end('done'),
        (error: Error) => response.end(error.message),
      );
    }));
  });
  afterEach(() => stop());

  const send = async (path: string, signal?: AbortSignal) =>
    (await fetch(`${url}${path}`, { method: 'POST', ...(signal && { signal }) })).text();
  const isBegun = (path: string) =>
    eventually(
      async () => begun.includes(path),
      (it) => it,
    );

  it('work on as many requests as there are slots, then on the next ones, also after an error', async () => {
    const first = [send('/a'), send('/b')];
    await Promise.all([isBegun('/a'), isBegun('/b')]);
    const third = send('/c');
    await wait(50);
    expect(begun).not.toContain('/c');
    finish.get('/a')!(new Error('failed'));
    await isBegun('/c');
    for (const path of ['/b', '/c']) finish.get(path)!();
    expect(await Promise.all([...first, third])).toEqual(['failed', 'done', 'done']);
    const again = ['/d', '/e'].map((path) => send(path));
    await Promise.all([isBegun('/d'), isBegun('/e')]);
    for (const path of ['/d', '/e']) finish.get(path)!();
    await Promise.all(again);
  });

  it('do not begin a request whose client has gone', async () => {
    const first = [send('/a'), send('/b')];
    await Promise.all([isBegun('/a'), isBegun('/b')]);
    const gone = new AbortController();
    const third = send('/gone', gone.signal).catch(() => 'aborted');
    await wait(50);
    gone.abort();
    expect(await third).toBe('aborted');
    await wait(50);
    for (const path of ['/a', '/b']) finish.get(path)!();
    await Promise.all(first);
    const last = send('/last');
    await isBegun('/last');
    finish.get('/last')!();
    expect(await last).toBe('done');
    expect(begun).not.toContain('/gone');
  });
});
