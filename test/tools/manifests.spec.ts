import 'reflect-metadata';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, writeFileSync } from 'node:fs';
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
import { HandlerRegistry } from '../../src/infrastructure/contracts/handler-registry.js';
import { DriverFreed } from '../../src/modules/drivers/contract.js';
import { FOLDER, manifests, readManifests } from '../../tools/manifests.js';
import { ROOT } from '../../tools/source.js';
import { startCabs } from '../support/cabs.js';
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

describe('The manifests', () => {
  it('are committed as generated; if this fails, run `npm run manifests`', () => {
    expect(Object.fromEntries(readManifests(join(ROOT, FOLDER)))).toEqual(Object.fromEntries(files));
  });

  it('have exactly one Trigger for each consumer and type of the running application', async () => {
    const database = join(mkdtempSync(join(tmpdir(), 'cabs-manifests-')), 'cabs.db');
    const cabs = await startCabs(`sqlite:${database}`);
    const registry = cabs.app.get(HandlerRegistry);
    const types = MODULES.flatMap((it) => messagesIn(meshFeatureOf(it).contract).messages).map(({ type }) => type);
    const pairs = types.flatMap((type) => registry.subscriptions(type).map((it) => `${it.consumer} ${type}`));
    await cabs.close();
    expect(pairs.length).toBeGreaterThan(10);
    for (const variant of VARIANTS) {
      const found = objectsOf(variant, 'Trigger').map(({ spec }) => {
        const [, consumer] = /^\/mesh\/([a-z]+)$/.exec(spec.subscriber.uri as string) ?? [];
        return `${consumer} ${spec.filter.attributes.type}`;
      });
      expect(found.sort()).toEqual([...pairs].sort());
    }
  });

  it('have the Service that hosts the consumer as the subscriber of each Trigger', () => {
    for (const { spec } of objectsOf('monolith', 'Trigger')) expect(spec.subscriber.ref.name).toBe('cabs');
    for (const { spec } of objectsOf('split', 'Trigger')) {
      expect(spec.subscriber.uri).toBe(`/mesh/${spec.subscriber.ref.name}`);
    }
  });

  it('get Triggers for a new module, a new command and a new listener', () => {
    const found = manifests(withBell(RingHandler, DriverFreedHandler));
    const [onCommand, onEvent] = objects(found.get('split/bell-triggers.yaml')!);
    expect(onCommand.metadata.name).toBe('bell-ring');
    expect(onCommand.spec.filter.attributes).toEqual({ type: 'cabs.bell.ring' });
    expect(onCommand.spec.subscriber).toMatchObject({ ref: { name: 'bell' }, uri: '/mesh/bell' });
    expect(onEvent.metadata.name).toBe('bell-drivers-driver-freed');
    expect(objects(found.get('monolith/bell-triggers.yaml')!)).toHaveLength(2);
    expect(parse(found.get('split/kustomization.yaml')!).resources).toContain('bell.yaml');
    expect(environmentOf(objects(found.get('split/rides.yaml')!)[2].spec)).toMatchObject({
      USVC_BELL: 'http://bell.cabs.svc.cluster.local',
    });
  });

  it('lose the Trigger of a removed handler, and the file of a consumer without handlers', () => {
    const whole = manifests(withBell(RingHandler, DriverFreedHandler));
    const less = manifests(withBell(RingHandler));
    expect(objects(less.get('monolith/bell-triggers.yaml')!).map(({ metadata }) => metadata.name)).toEqual([
      'bell-ring',
    ]);
    expect([...less]).not.toEqual([...whole]);
    const none = manifests(withBell());
    expect(none.has('split/bell.yaml')).toBe(true);
    expect(none.has('split/bell-triggers.yaml')).toBe(false);
    expect(parse(none.get('split/kustomization.yaml')!).resources).not.toContain('bell-triggers.yaml');
  });

  it('conform to the models of Knative, also when read back from YAML', () => {
    for (const [, text] of files) objects(text).forEach(validate);
    // Proof that a model reports violations.
    expect(() => validate({ kind: 'Trigger', spec: { broker: 1 } })).toThrow('must be string');
    const [, service] = objects(files.get('monolith/dead-letters.yaml')!);
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
      // The termination grace period covers draining by queue-proxy, requests and deliveries.
      expect(spec.template.spec.timeoutSeconds * 1000).toBeGreaterThan(30_000 + 2 * config.shutdownGraceMs);
    }
    for (const { spec } of objectsOf(variant, 'Job')) {
      expect(() => readConfig({ ...environmentOf(spec), ...cluster }, MODULE_NAMES, 'migrate')).not.toThrow();
    }
  });

  it('have a longer timeout for the Broker than for the receiver', () => {
    const { delivery } = objectsOf('monolith', 'Broker')[0].spec;
    const config = readConfig(
      { MESH_TIMEOUT: delivery.timeout, MESH_BACKOFF_DELAY: delivery.backoffDelay },
      MODULE_NAMES,
    );
    const defaults = readConfig({}, MODULE_NAMES).delivery;
    expect(config.delivery.timeoutMs).toBeGreaterThan(defaults.timeoutMs + 1000);
    expect(config.delivery.backoffDelayMs).toBe(defaults.backoffDelayMs);
    expect([delivery.retry, delivery.backoffPolicy]).toEqual([defaults.retry, defaults.backoffPolicy]);
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
    expect(addressed.length).toBeGreaterThan(30);
    for (const { spec } of addressed) {
      expect((spec.subscriber ?? spec.sink ?? spec.delivery.deadLetterSink).audience).toBe(audience);
    }
  });

  it('have components that patch existing paths', () => {
    for (const it of objectsOf('components', 'Component')) {
      for (const { target, patch } of it.patches) {
        const selected = VARIANTS.flatMap((variant) => objectsOf(variant, target.kind as string)).filter(
          ({ metadata }) =>
            (!target.name || metadata.name === target.name) &&
            (!target.labelSelector || metadata.labels['app.kubernetes.io/component'] === 'application'),
        );
        expect(selected.length).toBeGreaterThan(1);
        for (const { op, path } of parse(patch as string)) {
          const keys = (path as string)
            .split('/')
            .slice(1)
            .map((key) => key.replaceAll('~1', '/'));
          for (const object of selected) {
            const parent = keys.slice(0, -1).reduce((value, key) => value[key], object);
            expect(parent).toBeDefined();
            expect([op, keys.at(-1)! in parent]).toEqual([op, op !== 'add']);
          }
        }
      }
    }
  });

  it('do not depend on the environment, and remove files that are no longer generated', () => {
    const folder = mkdtempSync(join(tmpdir(), 'cabs-manifests-'));
    writeFileSync(join(folder, 'of-old.yaml'), 'kind: Trigger\n');
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
