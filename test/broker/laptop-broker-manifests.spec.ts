import { spawnSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { DIFFERENCES } from '../../tools/broker/differences.js';
import { goInt32, goPeriodMs, goTime, goUri } from '../../tools/broker/go-values.js';
import { readManifests } from '../../tools/broker/manifests.js';
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
    [
      'CESQL',
      trigger('t', { broker: 'default', subscriber, filters: [{ any: [{ cesql: 'TRUE' }] }] }),
      /CESQL is not supported/,
    ],
    ['an unknown dialect', trigger('t', { broker: 'default', subscriber, filters: [{ like: {} }] }), /like/],
    [
      'a duration in prose',
      trigger('t', { broker: 'default', subscriber, delivery: { timeout: 'soon' } }),
      /timeout: soon is no ISO 8601/,
    ],
    ['something that is no resource', { hello: 'world' }, /no Kubernetes resource/],
  ])('are refused for %s, in one line that names the file', (_name, resource, message) => {
    const folder = manifests(broker('default'), resource);
    expect(() => readManifests(folder)).toThrow(message);
    expect(() => readManifests(folder)).toThrow(/^\/\S+all\.yaml: .*$/);
  });

  test('that are no YAML end the command with exit code 1', () => {
    const { path, remove } = temporaryFolder();
    writeFileSync(join(path, 'broken.yaml'), 'kind: [Broker\n');
    const { status, stderr } = spawnSync(process.execPath, ['--import', 'tsx', 'tools/mesh.ts', '--manifests', path]);
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
