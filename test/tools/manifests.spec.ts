import 'reflect-metadata';
import { execFileSync } from 'node:child_process';
import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { Module, type Type } from '@nestjs/common';
import { CommandHandler, EventsHandler } from '@nestjs/cqrs';
import { parse } from 'yaml';
import { z } from 'zod';
import { MODULE_NAMES, MODULES } from '../../src/app.module.js';
import { readConfig } from '../../src/config.js';
import { durableCommand } from '../../src/infrastructure/contracts/message.js';
import { messagesIn, meshFeatureOf, MeshFeature } from '../../src/infrastructure/contracts/mesh-feature.js';
import { brokerChainMs, DEFAULT_DELIVERY } from '../../src/infrastructure/policies.js';
import { HandlerRegistry } from '../../src/infrastructure/contracts/handler-registry.js';
import { DriverFreed } from '../../src/modules/drivers/contract.js';
import { readManifests } from '../../tools/manifest-folder.js';
import { FOLDER, manifests } from '../../tools/manifests.js';
import { ROOT } from '../../tools/source.js';
import { startCabs } from '../support/cabs.js';
import { overlay } from '../support/kustomize.js';
import { environmentOf, files, objects, objectsOf, validate, VARIANTS } from '../support/manifests.js';

class Ring extends durableCommand('cabs.bell.ring', z.object({})) {}

@CommandHandler(Ring)
class RingHandler {}

@EventsHandler(DriverFreed)
class DriverFreedHandler {}

/** The modules of the application, and a module `bell` with these handlers. */
function withBell(...providers: Type[]): Type[] {
  @MeshFeature({ name: 'bell', contract: { Ring } })
  @Module({ providers })
  class BellModule {}
  return [...MODULES, BellModule];
}

/** The consumer of a Trigger, by the address of its subscriber. */
const consumerOf = ({ spec }: { spec: { subscriber: { uri: string } } }) =>
  /^\/mesh\/([a-z]+)$/.exec(spec.subscriber.uri)?.[1];

/** The types that a Trigger of a module matches. */
const typesOf = ({ spec }: { spec: { filters: [{ any: { exact: { type: string } }[] }] } }) =>
  spec.filters[0].any.map(({ exact }) => exact.type);

describe('The manifests', () => {
  it('are committed as generated; if this fails, run `npm run manifests`', () => {
    expect(Object.fromEntries(readManifests(join(ROOT, FOLDER)))).toEqual(Object.fromEntries(files));
  });

  it('have one Trigger for each consumer, with the types that the running application handles', async () => {
    const database = join(mkdtempSync(join(tmpdir(), 'cabs-manifests-')), 'cabs.db');
    const cabs = await startCabs(`sqlite:${database}`);
    const registry = cabs.app.get(HandlerRegistry);
    const types = MODULES.flatMap((it) => messagesIn(meshFeatureOf(it).contract).messages).map(({ type }) => type);
    const pairs = types.flatMap((type) => registry.subscriptions(type).map((it) => `${it.consumer} ${type}`));
    await cabs.close();
    expect(pairs.length).toBeGreaterThan(10);
    for (const variant of VARIANTS) {
      const triggers = objectsOf(variant, 'Trigger');
      const consumers = triggers.map(consumerOf);
      expect(new Set(consumers).size).toBe(consumers.length);
      expect(triggers.map(({ metadata }) => metadata.name)).toEqual(consumers);
      expect(triggers.flatMap((it) => typesOf(it).map((type) => `${consumerOf(it)} ${type}`)).sort()).toEqual(
        [...pairs].sort(),
      );
    }
  });

  it('have the Service that hosts the consumer as the subscriber of each Trigger', () => {
    for (const { spec } of objectsOf('monolith', 'Trigger')) expect(spec.subscriber.ref.name).toBe('cabs');
    for (const { spec } of objectsOf('split', 'Trigger')) {
      expect(spec.subscriber.uri).toBe(`/mesh/${spec.subscriber.ref.name}`);
    }
  });

  it('get a Trigger for a new module, with its commands and the events that it listens to', () => {
    const found = manifests(withBell(RingHandler, DriverFreedHandler));
    const [trigger, ...more] = objects(found.get('split/bell-trigger.yaml')!);
    expect(more).toEqual([]);
    expect(trigger.metadata.name).toBe('bell');
    expect(trigger.spec.filters).toEqual([
      { any: ['cabs.bell.ring', 'cabs.drivers.driver-freed'].map((type) => ({ exact: { type } })) },
    ]);
    expect(trigger.spec.subscriber).toMatchObject({ ref: { name: 'bell' }, uri: '/mesh/bell' });
    expect(objects(found.get('monolith/bell-trigger.yaml')!)[0].spec.subscriber.ref.name).toBe('cabs');
    expect(parse(found.get('split/kustomization.yaml')!).resources).toContain('bell.yaml');
    expect(environmentOf(objects(found.get('split/rides.yaml')!)[3].spec)).toMatchObject({
      USVC_BELL: 'http://bell.cabs.svc.cluster.local',
    });
    const byType = objects(found.get('components/rabbitmq-split/triggers.yaml')!);
    expect(byType.map(({ metadata }) => metadata.name)).toEqual(
      expect.arrayContaining(['bell-ring', 'bell-drivers-driver-freed', 'rides-complete-transit']),
    );
  });

  it('lose the type of a removed handler, and the Trigger of a module without handlers', () => {
    const whole = manifests(withBell(RingHandler, DriverFreedHandler));
    const less = manifests(withBell(RingHandler));
    expect(typesOf(objects(less.get('monolith/bell-trigger.yaml')!)[0])).toEqual(['cabs.bell.ring']);
    expect([...less]).not.toEqual([...whole]);
    const none = manifests(withBell());
    expect(none.has('split/bell.yaml')).toBe(true);
    expect(none.has('split/bell-trigger.yaml')).toBe(false);
    expect(parse(none.get('split/kustomization.yaml')!).resources).not.toContain('bell-trigger.yaml');
  });

  it('refuse a module whose name is no name of an object in Kubernetes', () => {
    @MeshFeature({ name: 'Ring_bell', contract: { Ring } })
    @Module({ providers: [RingHandler] })
    class BadlyNamed {}
    expect(() => manifests([...MODULES, BadlyNamed])).toThrow("Ring_bell can't be the name of a Trigger");
  });

  it('conform to the models of Knative, also when read back from YAML', () => {
    for (const [, text] of files) objects(text).forEach(validate);
    // Proof that a model reports violations.
    expect(() => validate({ kind: 'Trigger', spec: { broker: 1 } })).toThrow('must be string');
    expect(() => validate({ kind: 'Trigger', spec: { broker: 'b', filters: [{ any: [] }] } })).toThrow(
      'expected array to have',
    );
    const [eventType] = objects(files.get('components/event-types/event-types.yaml')!);
    eventType.spec.attributes = (eventType.spec.attributes as object[]).slice(1);
    expect(() => validate(eventType)).toThrow('attributes');
    const [, , service] = objects(files.get('monolith/dead-letters.yaml')!);
    const withoutName = [{ value: 'x' }];
    service.spec.template.spec.containers[0].env = withoutName;
    expect(() => validate(service)).toThrow('name');
  });

  it('have the same container rules in a Job as in a Service', () => {
    const jobs = objectsOf('split', 'Job');
    expect(jobs).toHaveLength(MODULES.length + 1);
    for (const { spec } of jobs) {
      const { containers } = spec.template.spec;
      validate({ kind: 'Service', spec: { template: { spec: { containers } } } });
      expect(containers[0].securityContext.runAsNonRoot).toBe(true);
    }
  });

  it.each([...VARIANTS, 'components'])('list each file of %s once in a kustomization', (folder) => {
    const kustomizations = [...files].filter(
      ([path]) => path.startsWith(folder) && path.endsWith('/kustomization.yaml'),
    );
    const listed = kustomizations.flatMap(([path, text]) => [
      path,
      ...((parse(text).resources ?? []) as string[]).map((it) => `${dirname(path)}/${it}`),
    ]);
    expect(listed.sort()).toEqual([...files.keys()].filter((path) => path.startsWith(`${folder}/`)).sort());
  });

  it('have unique names', () => {
    for (const variant of VARIANTS) {
      const names = objectsOf(variant).map(({ kind, metadata }) => `${kind} ${metadata?.name}`);
      expect(new Set(names).size).toBe(names.length);
    }
  });

  it.each(VARIANTS)('give each process of %s a valid environment', (variant) => {
    const cluster = { KUBERNETES_SERVICE_HOST: '10.0.0.1' };
    const bound = objectsOf(variant, 'SinkBinding').map(({ spec }) => spec.subject.name as string);
    for (const { metadata, spec } of objectsOf(variant, 'Service')) {
      const sink = bound.includes(metadata.name as string)
        ? { K_SINK: 'http://broker/cabs/default', K_CE_OVERRIDES: '' }
        : {};
      const config = readConfig({ ...environmentOf(spec), ...cluster, ...sink }, MODULE_NAMES);
      const hosted = { cabs: MODULE_NAMES, 'dead-letters': [] }[metadata.name as string] ?? [metadata.name];
      expect(config.modules).toEqual(hosted);
      expect(config.broker!.sink).toBe(sink.K_SINK);
      // It has the addresses of all other modules, for queries.
      if (variant === 'split' && hosted.length > 0)
        expect([...Object.keys(config.broker!.services!), metadata.name].sort()).toEqual([...MODULE_NAMES].sort());
      // The dead letter sink has the addresses of all consumers, to requeue messages.
      if (hosted.length === 0) {
        const hosts = objectsOf(variant, 'Trigger').map(({ spec: { subscriber } }) => [
          (subscriber.uri as string).replace('/mesh/', ''),
          `http://${subscriber.ref.name}.cabs.svc.cluster.local`,
        ]);
        expect(config.broker!.services).toEqual(Object.fromEntries(hosts));
      }
      // The termination grace period covers draining by queue-proxy, the delay, requests and deliveries.
      const stopMs = 30_000 + config.shutdownDelayMs + 2 * config.shutdownGraceMs;
      expect(spec.template.spec.timeoutSeconds * 1000).toBeGreaterThan(stopMs);
    }
    for (const { spec } of objectsOf(variant, 'Job')) {
      expect(() => readConfig({ ...environmentOf(spec), ...cluster }, MODULE_NAMES, 'migrate')).not.toThrow();
    }
  });

  it('give the Broker the retries of the application, and a longer timeout', () => {
    const { delivery } = objectsOf('monolith', 'Broker')[0].spec;
    const { timeoutMs, ...retries } = readConfig({}, MODULE_NAMES).delivery;
    const ofBroker = readConfig(
      {
        MESH_RETRY: String(delivery.retry),
        MESH_BACKOFF_POLICY: delivery.backoffPolicy,
        MESH_BACKOFF_DELAY: delivery.backoffDelay,
        MESH_TIMEOUT: delivery.timeout,
      },
      MODULE_NAMES,
    ).delivery;
    expect(ofBroker).toMatchObject(retries);
    // The receiver answers with the reason of a failure before the Broker stops to wait.
    expect(ofBroker.timeoutMs).toBeGreaterThan(timeoutMs + 1000);
    // The settings of the publisher count on all tries of the subscriber, and then of the dead letter sink.
    const waits = Array.from({ length: ofBroker.retry }, (_, n) => ofBroker.backoffDelayMs * 2 ** n);
    const once = waits.reduce((sum, it) => sum + it, (ofBroker.retry + 1) * ofBroker.timeoutMs);
    expect(brokerChainMs(DEFAULT_DELIVERY)).toBeGreaterThanOrEqual(2 * once);
  });

  it('never bind the dead letter sink to the Broker that waits for it', () => {
    for (const variant of VARIANTS) {
      const sink = objectsOf(variant, 'Broker')[0].spec.delivery.deadLetterSink;
      expect(sink).toMatchObject({ ref: { name: 'dead-letters' }, uri: '/mesh/dead-letters' });
      expect(objectsOf(variant, 'SinkBinding').map(({ spec }) => spec.subject.name)).not.toContain('dead-letters');
    }
  });

  it('use the audience that the services accept in all tokens', () => {
    const audience = /name: MESH_OIDC_AUDIENCE\n +value: (\w+)/.exec(
      files.get('components/oidc/kustomization.yaml')!,
    )![1];
    const addressed = ['Trigger', 'PingSource', 'Broker'].flatMap((kind) =>
      [...VARIANTS, 'components'].flatMap((folder) => objectsOf(folder, kind)),
    );
    expect(addressed.length).toBeGreaterThan(40);
    for (const { spec } of addressed) {
      expect((spec.subscriber ?? spec.sink ?? spec.delivery.deadLetterSink).audience).toBe(audience);
    }
  });

  it('have components that change existing objects, and keep them valid', () => {
    const components = objectsOf('components', 'Component').length;
    const names = [...files.keys()].flatMap((path) => /^components\/(.+)\/kustomization\.yaml$/.exec(path)?.[1] ?? []);
    expect(names).toHaveLength(components);
    for (const variant of VARIANTS) {
      const others = VARIANTS.filter((it) => it !== variant);
      for (const name of names.filter((it) => !others.some((other) => it.endsWith(other)))) {
        const needed = name === 'public' ? ['rest-auth'] : [];
        const after = overlay(variant, ...needed, name);
        after.forEach(validate);
        expect(after).not.toEqual(overlay(variant, ...needed));
      }
    }
    expect(() => overlay('split', 'oidc', 'oidc-split')).toThrow('which is MESH_OIDC_ISSUER');
  });

  it.each(['scale-to-zero', 'rabbitmq', 'oidc'])('refuse %s of one variant with the workloads of another', (name) => {
    for (const variant of VARIANTS) {
      expect(() => overlay(variant, `${name}-${variant}`)).not.toThrow();
      for (const other of VARIANTS.filter((it) => it !== variant))
        expect(() => overlay(variant, `${name}-${other}`)).toThrow(/^test of \/(metadata|.*\/env\/4)\/name, which is /);
    }
  });

  it('let only the network in without tokens: REST, and what Knative routes', () => {
    for (const variant of VARIANTS) {
      for (const { spec } of objectsOf(variant, 'Service')) {
        expect(environmentOf(spec)).toMatchObject({ MESH_ALLOW_ANONYMOUS: 'true', AUTH: 'none' });
      }
      const [{ spec }, ...more] = objectsOf(variant, 'NetworkPolicy');
      expect(more).toEqual([]);
      const { port } = readConfig({ REST_PORT: environmentOf(objectsOf(variant, 'Service')[0].spec).REST_PORT }, []);
      const [rest, routed] = spec.ingress;
      expect(rest).toEqual({ ports: [{ protocol: 'TCP', port }] });
      expect(routed.from[0].namespaceSelector.matchExpressions[0].values).toContain('knative-serving');
      expect(spec.ingress).toHaveLength(2);
    }
  });

  it.each(VARIANTS)(
    'let the Triggers and PingSources of %s deliver, each to its own path, with the component oidc',
    (variant) => {
      const cluster = { KUBERNETES_SERVICE_HOST: '10.0.0.1', K_SINK: 'http://broker/cabs/default' };
      const after = overlay(variant, 'oidc', `scale-to-zero-${variant}`);
      const ofKind = (kind: string) => after.filter((it) => it.kind === kind);
      const services = ofKind('Service').filter(({ apiVersion }) => apiVersion !== 'v1');
      expect(services.length).toBeGreaterThan(1);
      for (const { metadata, spec } of services) {
        const environment = environmentOf(spec);
        expect(environment).not.toHaveProperty('MESH_ALLOW_ANONYMOUS');
        const { senders, callers } = readConfig({ ...environment, ...cluster }, MODULE_NAMES).broker!.tokens!;
        const expected = (subject: string, segment: string) =>
          expect(senders).toContainEqual({ subject: `system:serviceaccount:cabs:${subject}`, segment });
        for (const trigger of ofKind('Trigger')) {
          const account = `${trigger.metadata.name}-oidc-eventing.knative.dev-trigger`;
          expected(account, consumerOf(trigger)!);
          expected(account, 'dead-letters');
        }
        for (const source of ofKind('PingSource')) {
          expected(`${source.metadata.name}-oidc-sources.knative.dev-pingsource`, 'flush');
        }
        // Each module asks with the service account of its own pods.
        expect(spec.template.spec.serviceAccountName).toBe(metadata.name);
        expect(ofKind('ServiceAccount').map((it) => it.metadata.name)).toContain(metadata.name);
        if (MODULE_NAMES.includes(metadata.name as string)) {
          expect(callers![metadata.name]).toEqual([`system:serviceaccount:cabs:${metadata.name}`]);
        }
      }
    },
  );

  it.each(VARIANTS)('let REST of %s demand tokens with the component rest-auth, before or after oidc', (variant) => {
    const cluster = { KUBERNETES_SERVICE_HOST: '10.0.0.1', K_SINK: 'http://broker/cabs/default' };
    for (const components of [['rest-auth'], ['rest-auth', 'oidc'], ['oidc', 'rest-auth']]) {
      const services = overlay(variant, ...components).filter(
        ({ apiVersion, kind }) => kind === 'Service' && apiVersion !== 'v1',
      );
      expect(services.length).toBeGreaterThan(1);
      for (const { metadata, spec } of services) {
        const environment = environmentOf(spec);
        const names = (spec.template.spec.containers[0].env as { name: string }[]).map(({ name }) => name);
        expect(new Set(names).size).toBe(names.length);
        expect(environment.MESH_OIDC_ISSUER !== undefined).toBe(components.includes('oidc'));
        const { restTokens, broker } = readConfig({ ...environment, ...cluster }, MODULE_NAMES);
        expect(broker!.tokens !== undefined).toBe(components.includes('oidc'));
        // The dead letter process has no REST.
        const isOpen = metadata.name === 'dead-letters';
        expect(environment.AUTH).toBe(isOpen ? 'none' : undefined);
        expect(restTokens).toEqual(
          isOpen ? undefined : { issuer: 'https://from/a-map', audience: 'https://from/a-map' },
        );
      }
    }
    expect(() => overlay(variant, 'rest-auth', 'rest-auth')).toThrow('which is AUTH_ISSUER');
  });

  it.each(VARIANTS)('give REST of %s a public address only after it demands tokens', (variant) => {
    const restServices = (...components: string[]) =>
      overlay(variant, ...components).filter(({ apiVersion, kind }) => kind === 'Service' && apiVersion === 'v1');
    for (const components of [['public'], ['public', 'rest-auth'], ['oidc', 'public']])
      expect(() => overlay(variant, ...components)).toThrow(/^test of .*\/env\/1\/name, which is AUTH$/);
    for (const components of [
      ['rest-auth', 'public'],
      ['oidc', 'rest-auth', 'public'],
      ['rest-auth', 'public', 'oidc'],
    ]) {
      const services = restServices(...components);
      expect(services.length).toBeGreaterThan(0);
      for (const { spec } of services) expect(spec.type).toBe('LoadBalancer');
    }
    for (const { spec } of restServices('rest-auth')) expect(spec).not.toHaveProperty('type');
  });

  it('do not depend on the environment', () => {
    const folder = mkdtempSync(join(tmpdir(), 'cabs-manifests-'));
    const weird = {
      MODULES: 'none',
      K_SINK: 'nonsense',
      DATABASE_URL: '?',
      NODE_ENV: 'production',
      TZ: 'Asia/Kathmandu',
    };
    const env = { PATH: process.env.PATH, HOME: folder, LANG: 'tr_TR.UTF-8', USVC_DRIVERS: 'x', ...weird };
    const tsx = join(ROOT, 'node_modules/tsx/dist/cli.mjs');
    execFileSync(process.execPath, [tsx, join(ROOT, 'tools/manifests.ts'), folder], {
      cwd: ROOT,
      env,
      stdio: 'pipe',
    });
    expect(Object.fromEntries(readManifests(folder))).toEqual(Object.fromEntries(files));
  });
});
