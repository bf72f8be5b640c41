import 'reflect-metadata';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parse, stringify } from 'yaml';
import { REACHED } from '../../src/demo.js';
import type { CloudEvent } from '../../src/infrastructure/cloudevents/cloud-event.js';
import { UnitOfWork } from '../../src/infrastructure/persistence/unit-of-work.js';
import { compile } from '../../tools/broker/filters.js';
import { readManifests } from '../../tools/broker/manifests.js';
import type { StoredEvent } from '../../tools/broker/stored-event.js';
import { bodyOf, transitIn, waitUntilIdle } from '../support/rest.js';
import { startCabs } from '../support/cabs.js';
import { overlay } from '../support/kustomize.js';
import { objectsOf, VARIANTS } from '../support/manifests.js';

/* eslint-disable @typescript-eslint/no-explicit-any -- objects of Kubernetes, read back from YAML */

/** Completes a ride in a monolith. @returns every message that the modules sent */
async function eventsOfARide(): Promise<CloudEvent[]> {
  const folder = mkdtempSync(join(tmpdir(), 'cabs-sent-'));
  const cabs = await startCabs(`sqlite:${join(folder, 'cabs.db')}`);
  const work = cabs.app.get(UnitOfWork);
  await work.run(async () => {
    await work.sql.run('CREATE TABLE sent (event text NOT NULL)');
    await work.sql.run(
      'CREATE TRIGGER recorder AFTER INSERT ON mesh_delivery BEGIN INSERT INTO sent VALUES (NEW.event); END',
    );
  });
  const { id } = await transitIn(cabs, 'IN_TRANSIT');
  bodyOf(await cabs.http.post(`/transits/${id}/complete`).set('Prefer', 'wait=10').send(REACHED), 200);
  await waitUntilIdle(cabs);
  const rows = await work.sql.all<{ event: string }>('SELECT event FROM sent');
  await cabs.close();
  rmSync(folder, { recursive: true });
  return rows.map(({ event }) => JSON.parse(event) as CloudEvent);
}

const kindOf = (all: any[], kind: string) => all.filter((it) => it.kind === kind);
const brokerOf = (all: any[]) => kindOf(all, 'Broker')[0];
const annotationsOf = (all: any[], kind: string) => kindOf(all, kind).map(({ metadata }) => metadata.annotations);

/** The subscribers' paths and types of Triggers, as the laptop broker reads them. */
function subscriptionsOf(all: any[], events: readonly CloudEvent[]): string[] {
  const folder = mkdtempSync(join(tmpdir(), 'cabs-overlay-'));
  writeFileSync(join(folder, 'all.yaml'), all.map((it) => stringify(it)).join('---\n'));
  const { triggers, warnings } = readManifests(folder);
  rmSync(folder, { recursive: true });
  expect(warnings).toEqual([]);
  const deliveries = triggers.flatMap(({ matches, subscriber }) =>
    events
      .filter((it) => matches(it as StoredEvent))
      .map(({ type }) => `${subscriber.service}${subscriber.uri} ${type}`),
  );
  return [...new Set(deliveries)].sort();
}

describe('The components for brokers and senders', () => {
  let sent: CloudEvent[];

  beforeAll(async () => {
    sent = await eventsOfARide();
    expect(sent.length).toBeGreaterThan(10);
  }, 60_000);

  it.each(VARIANTS)('kafka keeps the order of a partition in %s', (variant) => {
    const all = overlay(variant, 'kafka');
    expect(brokerOf(all).metadata.annotations).toEqual({ 'eventing.knative.dev/broker.class': 'Kafka' });
    expect(brokerOf(all).spec.config).toMatchObject({ kind: 'ConfigMap', namespace: 'knative-eventing' });
    expect(brokerOf(all).spec.delivery).toEqual(objectsOf(variant, 'Broker')[0].spec.delivery);
    const annotations = annotationsOf(all, 'Trigger');
    expect(annotations).toHaveLength(objectsOf(variant, 'Trigger').length);
    for (const it of annotations) expect(it).toEqual({ 'kafka.eventing.knative.dev/delivery.order': 'ordered' });
  });

  it.each(VARIANTS)(
    'rabbitmq has only filters that the RabbitMQ Broker reads, for the same deliveries in %s',
    (variant) => {
      const all = overlay(variant, `rabbitmq-${variant}`);
      const [config] = kindOf(all, 'RabbitmqBrokerConfig');
      const { apiVersion, kind, metadata } = config;
      const { name, namespace } = metadata;
      expect(brokerOf(all).spec.config).toEqual({ apiVersion, kind, name, namespace });
      const triggers = kindOf(all, 'Trigger');
      expect(triggers.length).toBeGreaterThan(10);
      for (const { spec } of triggers) {
        expect(spec).not.toHaveProperty('filters');
        expect(spec.filter.attributes).toEqual({ type: expect.stringMatching(/^cabs\.[a-z]+\.[a-z-]+$/) });
      }
      for (const it of annotationsOf(all, 'Trigger'))
        expect(it).toEqual({ 'rabbitmq.eventing.knative.dev/parallelism': '100' });
      const deliveries = subscriptionsOf(all, sent);
      expect(deliveries.length).toBeGreaterThan(8);
      expect(deliveries).toEqual(subscriptionsOf(overlay(variant), sent));
    },
  );

  it.each([
    ['in-memory-sync', 'false'],
    ['in-memory-async', 'true'],
  ])('%s says async-handler: %s, and names a channel that it brings along', (name, isAsync) => {
    const all = overlay('monolith', name);
    const { metadata, spec } = brokerOf(all);
    expect(metadata.annotations).toEqual({
      'eventing.knative.dev/broker.class': 'MTChannelBasedBroker',
      'messaging.knative.dev/async-handler': isAsync,
    });
    const channel = kindOf(all, 'ConfigMap').find((it) => it.metadata.name === spec.config.name);
    expect(channel.metadata.namespace).toBe(spec.config.namespace);
    expect(parse(channel.data['channel-template-spec'] as string)).toEqual({
      apiVersion: 'messaging.knative.dev/v1',
      kind: 'InMemoryChannel',
    });
  });

  it('event-types describe every message of a ride', () => {
    const types = new Map(
      kindOf(overlay('split', 'event-types'), 'EventType').map((it) => [it.metadata.name, it.spec]),
    );
    for (const event of sent) {
      const { attributes, reference } = types.get(event.type);
      expect(reference).toEqual({ apiVersion: 'eventing.knative.dev/v1', kind: 'Broker', name: 'default' });
      for (const { name, required, value } of attributes) {
        if (required) expect(event).toHaveProperty(name as string);
        if (value) expect(event[name as string]).toBe(value);
      }
    }
  });

  it.each(VARIANTS)('oidc admits every message of a ride, from the workload of its sender only, in %s', (variant) => {
    const policies = kindOf(overlay(variant, `oidc-${variant}`), 'EventPolicy');
    const bindings = objectsOf(variant, 'SinkBinding').map(({ metadata }) => metadata.name as string);
    const admitted = (event: CloudEvent) =>
      policies
        .filter(({ spec }) => compile({ filters: spec.filters })(event as StoredEvent))
        .flatMap(({ spec }) => (spec.from as any[]).map(({ ref }) => ref.name as string));
    for (const event of sent) {
      const sender = event.source.replace('usvc://cabs/', '');
      expect(admitted(event)).toEqual([variant === 'split' ? sender : 'cabs']);
      expect(bindings).toContain(admitted(event)[0]);
      expect(admitted({ ...event, source: 'usvc://cabs/clients' })).toEqual([]);
      expect(admitted({ ...event, type: 'cabs.rides.unknown' })).toEqual([]);
    }
    for (const { spec } of policies) expect(spec.to).toEqual([{ ref: expect.objectContaining({ name: 'default' }) }]);
  });
});
