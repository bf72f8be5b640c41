import { mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import fc from 'fast-check';
import { parseAllDocuments, stringify } from 'yaml';
import { BadManifest } from '../../tools/broker/manifest-schema.js';
import { readManifests } from '../../tools/broker/manifests.js';
import type { StoredEvent } from '../../tools/broker/stored-event.js';
import { ROOT } from '../../tools/source.js';
import { IS_THOROUGH } from '../support/thorough.js';

const FOLDER = join(ROOT, 'deploy/knative/monolith');
const REAL = readdirSync(FOLDER)
  .filter((name) => name.endsWith('.yaml'))
  .map((name) => ({ name, text: readFileSync(join(FOLDER, name), 'utf8') }));
/** The files that the broker reads. */
const READ = REAL.filter(({ text }) => /kind: (Broker|Trigger|Kustomization)/.test(text));

const EVENT = {
  specversion: '1.0',
  id: '1',
  source: 'usvc://cabs/rides',
  type: 'cabs.drivers.calculate-fee',
  _mesh: { broker: 'cabs/default' },
} as unknown as StoredEvent;

/** A random value for any field of a manifest. */
const anything = fc.oneof(
  fc.constantFrom<unknown>(null, '', 0, -1, 1.5, 1e300, true, [], {}, [null], { ref: null }, 'PT0.2S', 'Service', 'v1'),
  fc.string({ unit: 'binary', maxLength: 20 }),
  fc.jsonValue({ maxDepth: 3 }),
);

type Node = Record<string, unknown> | unknown[];

/** All fields of a document, each as the object or list that contains it, and its key. */
function fieldsOf(value: unknown): [holder: Node, key: string][] {
  if (typeof value !== 'object' || value === null) return [];
  return Object.entries(value).flatMap(([key, inner]) => [[value as Node, key] as [Node, string], ...fieldsOf(inner)]);
}

/** A real file with random values in some of its fields. */
const withRandomFields = fc
  .record({
    file: fc.nat(READ.length - 1),
    edits: fc.array(fc.record({ at: fc.nat(), put: anything, removes: fc.boolean() }), {
      minLength: 1,
      maxLength: 4,
    }),
  })
  .map(({ file, edits }) => {
    const { name, text } = READ[file]!;
    const documents = parseAllDocuments(text) as { toJS(): unknown }[];
    const resources = documents.map((it) => it.toJS());
    for (const { at, put, removes } of edits) {
      const all = fieldsOf(resources);
      if (all.length === 0) break;
      const [holder, key] = all[at % all.length]!;
      if (removes) delete (holder as Record<string, unknown>)[key];
      else (holder as Record<string, unknown>)[key] = structuredClone(put);
    }
    return { name, text: resources.map((it) => stringify(it ?? null)).join('---\n') };
  });

/** A real file with random characters in its text. */
const withRandomText = fc
  .record({
    file: fc.nat(READ.length - 1),
    edits: fc.array(fc.record({ at: fc.nat(), put: fc.string({ unit: 'binary', maxLength: 8 }), cut: fc.nat(12) }), {
      minLength: 1,
      maxLength: 5,
    }),
  })
  .map(({ file, edits }) => {
    const { name, text } = READ[file]!;
    const written = edits.reduce((edited, { at, put, cut }) => {
      const from = at % (edited.length + 1);
      return edited.slice(0, from) + put + edited.slice(from + cut);
    }, text);
    return { name, text: written };
  });

/** Heap of this process after a garbage collection, in bytes. */
function heapUsed(): number {
  setFlagsFromString('--expose-gc');
  (runInNewContext('gc') as () => void)();
  return process.memoryUsage().heapUsed;
}

describe('The manifests of the broker', () => {
  const folder = mkdtempSync(join(tmpdir(), 'manifests-fuzz-'));
  afterAll(() => rmSync(folder, { recursive: true }));

  /** Reads the manifests with one file replaced by `text`, and matches each Trigger with an event. */
  function readWith(name: string, text: string): void {
    rmSync(folder, { recursive: true, force: true });
    mkdirSync(folder);
    for (const it of READ) writeFileSync(join(folder, it.name), it.text);
    writeFileSync(join(folder, name), text);
    let triggers, warnings;
    try {
      ({ triggers, warnings } = readManifests(folder));
    } catch (error) {
      expect(error).toBeInstanceOf(BadManifest);
      expectOneLine((error as Error).message);
      return;
    }
    warnings.forEach(expectOneLine);
    // A Trigger is read, or a warning names it.
    if (warnings.length === 0) expect(triggers).not.toEqual([]);
    for (const { matches, name: called, namespace, subscriber, delivery } of triggers) {
      expect(typeof matches(EVENT)).toBe('boolean');
      expect([typeof called, typeof namespace]).toEqual(['string', 'string']);
      if (subscriber.service === undefined) expect(URL.canParse(subscriber.uri!)).toBe(true);
      for (const ms of [delivery.backoffDelayMs, delivery.retryAfterMaxMs, delivery.retry]) {
        expect(Number.isFinite(ms) && ms >= 0).toBe(true);
      }
    }
  }

  /** The broker prints the message in the terminal. */
  function expectOneLine(message: string): void {
    expect(message).not.toMatch(/\n|undefined|\[object|is not a function|Cannot read/);
    expect(message).toContain(folder);
  }

  it('are read when they are unchanged', () => {
    const { triggers, warnings } = readManifests(FOLDER);
    expect(triggers).toHaveLength(REAL.filter(({ text }) => text.includes('kind: Trigger')).length);
    expect(triggers.length).toBeGreaterThan(3);
    expect(warnings).toEqual([]);
    for (const { name, text } of READ) readWith(name, text);
  });

  it('with random fields are read, or refused in one line that names the file', () => {
    fc.assert(
      fc.property(withRandomFields, ({ name, text }) => readWith(name, text)),
      { numRuns: IS_THOROUGH ? 1000 : 400 },
    );
  }, 300_000);

  it('that contain themselves, as YAML aliases can, are refused', () => {
    const { name, text } = READ.find((it) => it.name.includes('drivers'))!;
    const [trigger] = text.split(/^---$/m).filter((it) => it.includes('kind: Trigger'));
    for (const held of ['&a [{ all: *a }]', '&a [{ not: { exact: *a } }]', '&a [{ any: [{ all: *a }] }]']) {
      readWith(name, trigger!.replace(/^ {2}filters:$/m, `  filters: ${held}\n  others:`));
    }
  });

  it('with random text are read, or refused in one line that names the file', () => {
    fc.assert(
      fc.property(withRandomText, ({ name, text }) => readWith(name, text)),
      { numRuns: IS_THOROUGH ? 800 : 300 },
    );
  }, 300_000);

  it('leak no memory', () => {
    const some = fc.sample(fc.oneof(withRandomFields, withRandomText), 100);
    const readAll = () => some.forEach(({ name, text }) => readWith(name, text));
    readAll();
    const before = heapUsed();
    for (let times = 0; times < 4; times += 1) readAll();
    // A leak of about 4 kB per read (two short lines of parsed YAML) showed here as 1.8 MB.
    expect(heapUsed() - before).toBeLessThan(1_000_000);
  }, 180_000);
});
