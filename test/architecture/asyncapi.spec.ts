import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import type * as asyncapi from '@asyncapi/parser';
import { z } from 'zod';
import { MODULES } from '../../src/app.module.js';
import { asyncApiDocument } from '../../src/infrastructure/cloudevents/asyncapi.js';
import type { CloudEvent } from '../../src/infrastructure/cloudevents/cloud-event.js';
import { exampleOf, wireSchema } from '../../src/infrastructure/cloudevents/json-schema.js';
import { parseMessage } from '../../src/infrastructure/cloudevents/mapping.js';
import { meshFeatureOf, messagesIn } from '../../src/infrastructure/contracts/mesh-feature.js';
import { asyncApiDoc } from '../../tools/asyncapi-doc.js';
import { readSources, ROOT } from '../../tools/source.js';
import { startCabs } from '../support/cabs.js';
import { DATABASES } from '../support/databases.js';
import { get } from '../support/rest.js';

const { Parser } = createRequire(import.meta.url)('@asyncapi/parser') as typeof asyncapi;

interface Document {
  readonly operations: Record<string, { readonly action: string }>;
  readonly components: {
    readonly messages: Record<string, { examples: { headers: Record<string, string>; payload: object }[] }>;
  };
}

describe('The AsyncAPI document', () => {
  const document = asyncApiDocument({ application: 'cabs', modules: MODULES }) as Document;

  it('is that of docs/asyncapi.yaml', () => {
    expect(readFileSync(join(ROOT, 'docs/asyncapi.yaml'), 'utf8')).toBe(asyncApiDoc(MODULES, readSources('src')));
  });

  it('is valid', async () => {
    const { document: parsed, diagnostics } = await new Parser().parse(
      readFileSync(join(ROOT, 'docs/asyncapi.yaml'), 'utf8'),
    );
    const problems = diagnostics.filter(({ code }) => code !== 'asyncapi-latest-version');
    expect(problems).toEqual([]);
    expect(parsed!.allMessages().length).toBe(Object.keys(document.components.messages).length);
  }, 60_000);

  it('has examples that the contracts accept', () => {
    const messages = MODULES.flatMap((it) => messagesIn(meshFeatureOf(it).contract).messages);
    expect(messages.length).toBeGreaterThan(10);
    for (const message of messages) {
      const [{ headers, payload }] = document.components.messages[message.type]!.examples as [
        { headers: Record<string, string>; payload: object },
      ];
      const attributes = Object.entries(headers).map(([name, value]) => [name.replace(/^ce-/, ''), value]);
      const event = { ...Object.fromEntries(attributes), data: payload } as unknown as CloudEvent;
      expect(parseMessage(event, message)).toBeInstanceOf(message);
    }
  });

  it('says who sends and receives what', () => {
    expect(document.operations).toMatchObject({
      'rides.send.cabs.invoicing.issue-invoice': { action: 'send' },
      'invoicing.receive.cabs.invoicing.issue-invoice': { action: 'receive' },
    });
  });

  it('is served to operators', async () => {
    const cabs = await startCabs(await DATABASES[0]!.fresh());
    expect(await get(cabs, '/asyncapi.json')).toEqual(JSON.parse(JSON.stringify(document)));
    await cabs.close();
  });
});

it('Schemas have the field names of the wire, also in records and lists', () => {
  const inner = z.object({ buildingNumber: z.int().min(5), itsName: z.string().optional() });
  const schema = wireSchema(z.object({ oneThing: inner, allThings: z.array(inner).min(1), properties: z.boolean() }));
  expect(schema).toMatchObject({
    required: ['one-thing', 'all-things', 'properties'],
    properties: { 'one-thing': { required: ['building-number'] }, 'all-things': { type: 'array' } },
  });
  const thing = { 'building-number': 5, 'its-name': 'text' };
  expect(exampleOf(schema)).toEqual({ 'one-thing': thing, 'all-things': [thing], properties: true });
});
