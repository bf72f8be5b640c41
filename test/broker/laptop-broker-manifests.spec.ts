import { spawnSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { startBroker } from '../../tools/broker/broker.js';
import { DIFFERENCES } from '../../tools/broker/differences.js';
import { compile } from '../../tools/broker/filters.js';
import { goInt32, goPeriodMs, goTime, goUri } from '../../tools/broker/go-values.js';
import { readManifests } from '../../tools/broker/manifests.js';
import { freePort } from '../../tools/ports.js';
import { broker, manifests, temporaryFolder, trigger } from '../support/broker-requests.js';

const subscriber = { ref: { apiVersion: 'serving.knative.dev/v1', kind: 'Service', name: 'shop' }, uri: '/mesh/shop' };
const sink = { ref: { apiVersion: 'serving.knative.dev/v1', kind: 'Service', name: 'dead-letters' } };

describe('the manifests', () => {
  test('are all Brokers and Triggers of a folder; other kinds are ignored', () => {
    const folder = manifests(
      { apiVersion: 'v1', kind: 'Namespace', metadata: { name: 'cabs' } },
      broker(
        'default',
        { retry: 10, backoffPolicy: 'exponential', backoffDelay: 'PT0.2S', deadLetterSink: sink },
        'cabs',
      ),
    );
    const more = { ...trigger('one', { broker: 'default', subscriber }), metadata: { name: 'one' } };
    writeFileSync(join(folder, 'more.yaml'), JSON.stringify(more));
    writeFileSync(join(folder, 'kustomization.yaml'), 'namespace: cabs\nresources: [all.yaml, more.yaml]\n');
    const { brokers, triggers } = readManifests(folder);
    expect(brokers).toEqual(['cabs/default']);
    expect(triggers).toMatchObject([
      {
        namespace: 'cabs',
        name: 'one',
        broker: 'cabs/default',
        subscriber: { service: 'shop', uri: '/mesh/shop' },
        delivery: { retry: 10, backoffPolicy: 'exponential', backoffDelayMs: 200, retryAfterMaxMs: 0 },
        deadLetterSink: { service: 'dead-letters' },
      },
    ]);
  });

  test('of a Trigger replace the delivery of its Broker as a whole, except for a missing dead letter sink', () => {
    const inherited = {
      retry: 10,
      backoffPolicy: 'linear',
      backoffDelay: 'PT1S',
      timeout: 'PT5S',
      deadLetterSink: sink,
    };
    const own = trigger('own', { broker: 'default', subscriber, delivery: { retry: 1 } });
    const [only] = readManifests(manifests(broker('default', inherited), own)).triggers;
    expect(only).toMatchObject({
      delivery: { retry: 1, backoffDelayMs: 0 },
      deadLetterSink: { service: 'dead-letters' },
    });
    expect(only!.delivery).not.toHaveProperty('timeoutMs');
  });

  test.each([
    [
      'a Trigger of a Broker that is not there',
      trigger('t', { broker: 'nope', subscriber }),
      /no Broker default\/nope/,
    ],
    ['a Trigger without subscriber', trigger('t', { broker: 'default' }), /no subscriber/],
    ['an unknown dialect', trigger('t', { broker: 'default', subscriber, filters: [{ like: {} }] }), /like/],
    [
      'a duration in prose',
      trigger('t', { broker: 'default', subscriber, delivery: { timeout: 'soon' } }),
      /timeout: soon is no ISO 8601/,
    ],
    [
      'a subscriber without a kind',
      trigger('t', { broker: 'default', subscriber: { ref: { name: 'shop' } } }),
      /no kind/,
    ],
    ['a retry below 0', broker('other', { retry: -1 }), /retry: -1 is no integer/],
    ['something that is no resource', { hello: 'world' }, /no Kubernetes resource/],
  ])('are refused for %s, in one line that names the file', (_name, resource, message) => {
    const folder = manifests(broker('default'), resource);
    expect(() => readManifests(folder)).toThrow(message);
    expect(() => readManifests(folder)).toThrow(/^\/\S+all\.yaml: .*$/);
  });

  const good = trigger('good', { broker: 'default', subscriber });
  const old = (version: string, resource: object) => ({ ...resource, apiVersion: `eventing.knative.dev/${version}` });
  const to = (kind: string, apiVersion: string) =>
    trigger('other', { broker: 'default', subscriber: { ref: { apiVersion, kind, name: 'flow' } } });

  test.each([
    ['a v1beta1 Trigger', old('v1beta1', trigger('other', { broker: 'default', subscriber })), /\(eventing.*v1beta1\)/],
    [
      'a v1alpha1 Trigger',
      old('v1alpha1', trigger('other', { broker: 'default', subscriber })),
      /\(eventing.*v1alpha1\)/,
    ],
    ['a Sequence as the subscriber', to('Sequence', 'flows.knative.dev/v1'), /Sequence flow \(flows.knative.dev\/v1\)/],
    ['a Broker as the subscriber', to('Broker', 'eventing.knative.dev/v1'), /is the Broker flow/],
    [
      'an EventTransform as the subscriber',
      to('EventTransform', 'eventing.knative.dev/v1alpha1'),
      /EventTransform flow/,
    ],
    ['a Channel as the subscriber', to('Channel', 'messaging.knative.dev/v1'), /Channel flow/],
    [
      'a Broker in another namespace',
      trigger('other', { broker: '', brokerRef: { name: 'default', namespace: 'there' }, subscriber }),
      /brokerRef/,
    ],
    [
      'CESQL',
      trigger('other', { broker: 'default', subscriber, filters: [{ any: [{ cesql: 'TRUE' }] }] }),
      /no CESQL filters/,
    ],
  ])('leave a Trigger out for %s, and say so by file and name', (_name, resource, reason) => {
    const { triggers, warnings } = readManifests(manifests(broker('default'), resource, good));
    expect(triggers.map(({ name }) => name)).toEqual(['good']);
    expect(warnings).toEqual([expect.stringMatching(reason)]);
    expect(warnings[0]).toMatch(
      /^\/\S+all\.yaml: Trigger default\/other \(eventing\.knative\.dev\/\w+\) is left out: .+$/,
    );
  });

  test('leave a Broker of an old version out together with its Triggers', () => {
    const folder = manifests(
      broker('default'),
      old('v1beta1', broker('older')),
      trigger('one', { broker: 'older', subscriber }),
      good,
    );
    const { brokers, triggers, warnings } = readManifests(folder);
    expect(brokers).toEqual(['default/default']);
    expect(triggers.map(({ name }) => name)).toEqual(['good']);
    expect(warnings).toEqual([
      expect.stringContaining('Broker default/older (eventing.knative.dev/v1beta1) is left out'),
      expect.stringContaining('Trigger default/one (eventing.knative.dev/v1) is left out: its Broker default/older'),
    ]);
  });

  test('with no Broker of a known version are refused, with the Brokers that are left out', () => {
    expect(() => readManifests(manifests(old('v1beta1', broker('older')), good))).toThrow(
      /^\S+: no YAML file contains a Broker of eventing\.knative\.dev\/v1; .*Broker default\/older .*$/,
    );
  });

  test('say so when no Trigger is left', () => {
    const { triggers, warnings } = readManifests(manifests(broker('default'), to('Sequence', 'flows.knative.dev/v1')));
    expect(triggers).toEqual([]);
    expect(warnings).toEqual([
      expect.stringContaining('Trigger default/other'),
      expect.stringMatching(/^\/\S+: no Trigger is left, so the broker accepts events but delivers none$/),
    ]);
    expect(readManifests(manifests(broker('default'), good)).warnings).toEqual([]);
  });

  test('keep a Trigger whose dead letter sink is no Service, and treat it as if it had none', () => {
    const channel = { ref: { apiVersion: 'messaging.knative.dev/v1', kind: 'Channel', name: 'dead' } };
    const own = trigger('own', { broker: 'default', subscriber, delivery: { retry: 1, deadLetterSink: channel } });
    const folder = manifests(
      broker('default', { deadLetterSink: sink }),
      own,
      broker('b', { deadLetterSink: channel }),
    );
    const { triggers, warnings } = readManifests(folder);
    expect(triggers).toMatchObject([{ name: 'own', delivery: { retry: 1 }, deadLetterSink: undefined }]);
    expect(warnings).toEqual([
      expect.stringMatching(/Broker default\/b .*: its dead letter sink is the Channel dead .* no dead letter sink$/),
      expect.stringMatching(
        /Trigger default\/own .*: its dead letter sink is the Channel dead .* no dead letter sink$/,
      ),
    ]);
  });

  test('that are left out do not stop the broker, which prints the warnings at its start', async () => {
    const { path, remove } = temporaryFolder();
    const started = await startBroker({
      manifests: manifests(broker('default'), to('Sequence', 'flows.knative.dev/v1'), good),
      port: 0,
      database: `sqlite:${join(path, 'mesh.db')}`,
      services: { shop: 'http://localhost:1' },
    });
    await started.stop(0);
    remove();
    expect(started.description).toContainEqual(expect.stringMatching(/^Warning: .*Trigger default\/other .*\.$/));
    expect(started.description).toContainEqual('  everything -> http://localhost:1/mesh/shop');
  });

  test('leave a Trigger out that points at the broker itself, and forget such a dead letter sink', async () => {
    const { path, remove } = temporaryFolder();
    const port = await freePort();
    const own = ['localhost', '127.0.0.1', '127.1', '[::1]', 'LOCALHOST'].map((host, n) =>
      trigger(`own-${n}`, { broker: 'default', subscriber: { uri: `http://${host}:${port}/default/default` } }),
    );
    const sinking = trigger('sinking', { broker: 'default', subscriber, delivery: { deadLetterSink: sink } });
    const started = await startBroker({
      manifests: manifests(
        broker('default'),
        ...own,
        trigger('named', { broker: 'default', subscriber: sink }),
        sinking,
      ),
      port,
      database: `sqlite:${join(path, 'mesh.db')}`,
      services: { shop: `http://localhost:${port + 1}`, 'dead-letters': `http://localhost:${port}` },
    });
    await started.stop(0);
    remove();
    const left = (name: string) => expect.stringContaining(`Trigger default/${name} is left out`) as unknown;
    const circles = started.description.filter((it) => it.startsWith('Warning:'));
    expect(circles).toEqual([
      ...own.map((_, n) => left(`own-${n}`)),
      left('named'),
      expect.stringContaining('Trigger default/sinking: its dead letter sink is this broker'),
    ]);
  });

  test('with filters nested too deep are refused in one line', () => {
    let filter: object = { exact: { type: 'a' } };
    for (let n = 0; n < 20_000; n++) filter = { not: filter };
    expect(() => compile({ filters: [filter as Record<string, unknown>] })).toThrow(
      /^The filters are nested deeper than 100 levels$/,
    );
  });

  test('show a filter of several types as a list of types', () => {
    const several = ['a.b', 'c.d'].map((type) => ({ exact: { type } }));
    const filters = [
      [{ any: several }],
      [{ any: [...several, { prefix: { type: 'e' } }] }],
      [{ any: several }, { exact: { source: 'x' } }],
    ];
    const triggers = filters.map((it, index) => trigger(`t${index}`, { broker: 'default', subscriber, filters: it }));
    const [list, ...others] = readManifests(manifests(broker('default'), ...triggers)).triggers;
    expect(list!.filterText).toBe('a.b, c.d');
    expect(others.map(({ filterText }) => filterText)).toEqual(filters.slice(1).map((it) => JSON.stringify(it)));
  });

  test('that are no YAML end the command with exit code 1', () => {
    const { path, remove } = temporaryFolder();
    writeFileSync(join(path, 'broken.yaml'), 'kind: [Broker\n');
    const { status, stderr } = spawnSync(process.execPath, [
      '--import',
      'tsx',
      'tools/meshy.ts',
      'broker',
      '--manifests',
      path,
    ]);
    expect(stderr.toString().trim()).toMatch(/^\S+broken\.yaml: .*$/);
    expect(status).toBe(1);
    remove();
  });
});

describe('Go semantics:', () => {
  test.each([
    ['/src', '/src'],
    ['not a uri', 'not%20a%20uri'],
    ['urn:uuid:1', 'urn:uuid:1'],
    ['usvc://cabs/rides', 'usvc://cabs/rides'],
    ['http://host:80/a?b=c d#e', 'http://host:80/a?b=c d#e'],
    ['HTTP://host/%41%2f"', 'http://host/A/%22'],
    ['/a%2Fb', '/a%2Fb'],
    [':bad', undefined],
    ['1:2', undefined],
    ['/a%zz', undefined],
    ['http://ho st/', undefined],
    ['http://host:x/', undefined],
  ])('the URI %s', (text, wanted) => {
    expect(goUri(text)?.text).toBe(wanted);
  });

  test.each([
    ['2026-01-02T03:04:05.678Z', '2026-01-02T03:04:05.678Z'],
    ['2026-01-02T03:04:05.123456789+02:00', '2026-01-02T01:04:05.123456789Z'],
    ['2026-01-02T03:04:05.100Z', '2026-01-02T03:04:05.1Z'],
    ['2026-01-02T03:04:05.000Z', '2026-01-02T03:04:05Z'],
    ['2026-01-02T03:04:05,5Z', '2026-01-02T03:04:05.5Z'],
    ['2026-01-02T03:04:05,1234567899+00:00', '2026-01-02T03:04:05.123456789Z'],
    ['2026-01-02T3:04:05Z', '2026-01-02T03:04:05Z'],
    ['2026-01-02T03:04:05+24:60', '2026-01-01T02:04:05Z'],
    ['2026-01-02T03:04:05-00:30', '2026-01-02T03:34:05Z'],
    ['2026-01-02T03:04:05+25:00', undefined],
    ['2026-01-02T03:04:05,Z', undefined],
    ['2026-01-02T03:04:60Z', undefined],
    ['2026-02-30T03:04:05Z', undefined],
    ['2026-01-02T24:00:00Z', undefined],
    ['2026-01-02t03:04:05z', undefined],
  ])('the time %s', (text, wanted) => {
    expect(goTime(text)).toBe(wanted);
  });

  test.each([
    ['1.5', 1],
    ['-1', -1],
    ['99999999999', undefined],
    ['abc', undefined],
    ['', undefined],
  ])('the number %j', (text, wanted) => {
    expect(goInt32(text)).toBe(wanted);
  });

  test.each([
    ['PT0.25S', 200],
    ['PT0.09S', 0],
    ['PT1M30S', 90_000],
    ['P1DT1H', 90_000_000],
    ['1s', undefined],
  ])('the duration %s', (text, wanted) => {
    expect(goPeriodMs(text)).toBe(wanted);
  });
});

test('the page about the laptop broker lists every difference', () => {
  const page = readFileSync(new URL('../../docs/laptop-broker.md', import.meta.url), 'utf8').replace(/\s+/g, ' ');
  const list = page.slice(page.indexOf('## Differences'));
  for (const { difference, reason } of DIFFERENCES) {
    expect(list).toContain(`**${difference}** ${reason}`.replace(/\s+/g, ' '));
  }
  expect(list.match(/- \*\*/g)).toHaveLength(DIFFERENCES.length);
});
