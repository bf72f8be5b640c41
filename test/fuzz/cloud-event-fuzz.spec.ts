import fc from 'fast-check';
import { MalformedEvent } from '../../src/infrastructure/cloudevents/attributes.js';
import { HTTP, toBatch } from '../../src/infrastructure/cloudevents/http-binding.js';
import { toEvents, type HttpMessage } from '../../src/infrastructure/cloudevents/http-parser.js';
import { anyEvent, BATCHED, MINIMAL_HEADERS, STRUCTURED } from '../support/cloud-events.js';

/** Accepted and refused messages: a generator whose messages are all refused proves nothing. */
const counts = { accepted: 0, refused: 0 };

/** A message must be refused in one line, or its events must be unchanged when they are sent on. */
function check(message: HttpMessage): void {
  let events;
  try {
    events = toEvents(message);
  } catch (error) {
    counts.refused++;
    if (!(error instanceof MalformedEvent)) throw error;
    if (!/^[\x20-\x7e]{1,199}$/.test(error.message))
      throw new Error(`Expected one line of ASCII, got ${JSON.stringify(error.message)}`);
    return;
  }
  counts.accepted++;
  // Compared as text, because -0 and __proto__ in data must be kept.
  const text = JSON.stringify(events);
  const batch = toBatch(events);
  if (JSON.stringify(toEvents({ ...batch, body: Buffer.from(batch.body) })) !== text)
    throw new Error(`The batch has changed: ${text}`);
  for (const event of events) {
    const sent = HTTP.binary(event);
    const [again] = toEvents({ headers: sent.headers, body: Buffer.from(sent.body ?? '') });
    const body = HTTP.binary(again!);
    if (JSON.stringify(body) !== JSON.stringify(sent))
      throw new Error(`The event has changed: ${JSON.stringify(event)}`);
  }
}

const names = fc.oneof(
  fc.constantFrom(
    'content-type',
    'Content-Type',
    'ce-__proto__',
    'ce-constructor',
    'ce-data',
    'ce-a',
    'CE-ID',
    '__proto__',
    '',
  ),
  fc.constantFrom('ce-specversion', 'ce-id', 'ce-source', 'ce-type', 'ce-time', 'ce-subject', 'ce-dataschema'),
  fc.string().map((it) => `ce-${it}`),
);
const bits = [
  '%',
  '%C5',
  '"',
  '\\',
  '\0',
  'Å',
  '»',
  ' ',
  '\t',
  ';',
  'application/json',
  'text/plain',
  STRUCTURED,
  BATCHED,
  '{}',
  '1.0',
  '/',
  '😀',
  '\ud83d',
];
const values = fc.oneof(fc.string({ unit: fc.constantFrom(...bits) }), fc.string({ unit: 'binary' }), fc.string());
const bodies = fc.oneof(
  fc.uint8Array().map((it) => Buffer.from(it)),
  fc.json().map((it) => Buffer.from(it)),
  fc
    .dictionary(
      fc.oneof(fc.constantFrom('id', 'type', '__proto__', 'data', 'data_base64'), fc.string()),
      fc.jsonValue(),
    )
    .map((it) => {
      return Buffer.from(JSON.stringify({ ...it, specversion: '1.0', source: '/a' }));
    }),
);

const arbitraryMessage = fc.record({
  headers: fc
    .tuple(
      fc.boolean(),
      fc.dictionary(names, fc.oneof({ weight: 9, arbitrary: values }, fc.array(values), fc.constant(undefined)), {
        maxKeys: 6,
      }),
    )
    .map(([isNearly, headers]) => (isNearly ? { ...MINIMAL_HEADERS, ...headers } : headers)),
  body: bodies,
});

/** Valid messages. These stay the same, and the damage varies. */
const VALID = fc
  .sample(anyEvent, { numRuns: 300, seed: 1 })
  .flatMap((event) => [HTTP.binary(event), HTTP.structured(event), toBatch([event, event])]);

interface Damage {
  readonly at: number;
  readonly cut: number;
  readonly put: string;
}
const damage = fc.record({
  at: fc.nat(2000),
  cut: fc.nat(3),
  put: fc.oneof(fc.constant(''), fc.constantFrom(...bits, ...'{}[],:"0-e\\')),
});
const damagedMessage = fc
  .tuple(fc.constantFrom(...VALID), fc.array(fc.tuple(fc.nat(20), damage), { maxLength: 2 }))
  .map(([valid, damages]) => {
    const headers = { ...valid.headers };
    let body = Buffer.from(valid.body ?? '');
    for (const [which, how] of damages) {
      const name = Object.keys(headers)[which];
      if (name === undefined) body = Buffer.from(damaged(body.toString('latin1'), how), 'latin1');
      else headers[name] = damaged(headers[name]!, how);
    }
    return { headers, body };
  });

function damaged(text: string, { at, cut, put }: Damage): string {
  const start = at % (text.length + 1);
  return text.slice(0, start) + put + text.slice(start + cut);
}

describe('A random message', () => {
  beforeEach(() => Object.assign(counts, { accepted: 0, refused: 0 }));

  it.each([
    ['random parts', arbitraryMessage, 8_000],
    ['valid, then damaged', damagedMessage, 15_000],
  ] as [string, fc.Arbitrary<HttpMessage>, number][])(
    'is accepted or refused: %s',
    (_, message, numRuns) => {
      fc.assert(fc.property(message, check), { numRuns });
      expect(Math.min(counts.accepted, counts.refused)).toBeGreaterThan(numRuns / 50);
      // This takes 2 s on an idle machine.
    },
    300_000,
  );
});
