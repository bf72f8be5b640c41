import { readFileSync } from 'node:fs';
import { startCabs, type Cabs } from '../support/cabs.js';
import { DATABASES } from '../support/databases.js';

interface Operation {
  readonly tags: readonly string[];
  readonly parameters?: readonly { name: string; in: string; required?: boolean; example?: unknown }[];
  readonly requestBody?: { content: Record<string, { example?: object }> };
}

interface Document {
  readonly info: { readonly title: string; readonly description: string; readonly version: string };
  readonly paths: Record<string, Record<string, Operation>>;
}

describe('The API page', () => {
  let cabs: Cabs;
  let document: Document;

  beforeAll(async () => {
    cabs = await startCabs(await DATABASES[0]!.fresh(), { SEED: 'demo' });
    document = (await cabs.http.get('/api-json').set('Host', 'localhost')).body as Document;
  });
  afterAll(() => cabs.close());

  const operations = () =>
    Object.entries(document.paths).flatMap(([path, methods]) =>
      Object.entries(methods).map(([method, operation]) => ({ method: method.toUpperCase(), path, ...operation })),
    );

  it('says what it is about, and of which version', () => {
    const { version } = JSON.parse(readFileSync('package.json', 'utf8')) as { version: string };
    expect(document.info).toMatchObject({ title: 'Meshy Cabs', version });
    expect(document.info.description).toMatch(/Bob Falc is driving John Doe/);
  });

  it('begins with rides, and ends with the mesh', () => {
    const tags = [...new Set(operations().flatMap(({ tags }) => tags))];
    expect(tags[0]).toBe('Rides');
    expect(tags.slice(-2)).toEqual(['Mesh', 'Health']);
  });

  it('has examples that work as they stand', async () => {
    const ofModules = operations().filter(({ tags }) => !tags.some((it) => ['Mesh', 'Health'].includes(it)));
    expect(ofModules.length).toBeGreaterThan(20);
    const statuses: Record<string, number> = {};
    for (const { method, path, parameters = [], requestBody } of ofModules) {
      const examples = new Map(parameters.map(({ name, example }) => [name, example]));
      for (const it of parameters.filter(({ required }) => required)) expect(it).toHaveProperty('example');
      const query = parameters.filter((it) => it.in === 'query' && it.example !== undefined);
      const filled = path.replace(/{(\w+)}/g, (_, name: string) => String(examples.get(name)));
      const search = query.map(({ name, example }) => `${name}=${String(example)}`).join('&');
      const request = cabs.http[method.toLowerCase() as 'get'](`${filled}?${search}`).set('Host', 'localhost');
      const body = requestBody?.content['application/json'];
      if (body) expect(body).toHaveProperty('example');
      const { status } = await (body ? request.send(body.example) : request);
      statuses[`${method} ${path}`] = status;
    }
    // A ride can be accepted only once, and not be started twice: those that ask for it are understood, and refused.
    const unexpected = Object.entries(statuses).filter(
      ([, status]) => status !== 409 && (status < 200 || status > 299),
    );
    expect(unexpected).toEqual([]);
    expect(Object.values(statuses).filter((it) => it !== 409).length).toBeGreaterThan(15);
  });

  it('tells which requests may be repeated, and which can wait', () => {
    const withHeader = (name: string) =>
      operations()
        .filter(({ parameters }) => parameters?.some((it) => it.in === 'header' && it.name === name))
        .map(({ method, path }) => `${method} ${path}`);
    expect(withHeader('Idempotency-Key').sort()).toEqual([
      'POST /clients',
      'POST /drivers',
      'POST /transits',
      'POST /transits/{id}/complete',
    ]);
    expect(withHeader('Prefer')).toEqual(['POST /transits/{id}/accept', 'POST /transits/{id}/complete']);
  });
});
