import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { checked, loadJose, loadUndici } from '../../src/infrastructure/http/optional-packages.js';
import { MeshHttp } from '../../src/infrastructure/mesh-http.js';
import { ROOT } from '../../tools/source.js';

const peersIn = (path: string) =>
  (JSON.parse(readFileSync(join(ROOT, path), 'utf8')) as { peerDependencies: Record<string, string> }).peerDependencies;

describe('Packages that only a broker or tokens need', () => {
  it('are taken in the versions of this project', async () => {
    expect(await loadUndici()).toHaveProperty('Agent');
    expect(await loadJose()).toHaveProperty('jwtVerify');
  });

  it('are refused when they are too old', () => {
    expect(() => checked({ Agent: {} }, 'cacheStores', 'A broker needs undici 7')).toThrow('A broker needs undici 7');
  });

  it('keep no application with another version from installing the mesh', () => {
    const any = { express: '*', jose: '*', 'swagger-ui-dist': '*', undici: '*' };
    expect(peersIn('package/manifest.json')).toMatchObject(any);
  });
});

describe('Nest', () => {
  it('decides which RxJS an application has', () => {
    const { rxjs } = peersIn('node_modules/@nestjs/cqrs/package.json');
    expect(peersIn('package/manifest.json').rxjs).toBe(rxjs);
  });

  it('is refused when it is too old', () => {
    expect(() => Reflect.construct(MeshHttp, [{ httpAdapter: {} }])).toThrow('Nest 11.1.4');
  });
});
