import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { checked, loadJose, loadUndici } from '../../src/infrastructure/http/optional-packages.js';
import { ROOT } from '../../tools/source.js';

describe('Packages that only a broker or tokens need', () => {
  it('are taken in the versions of this project', async () => {
    expect(await loadUndici()).toHaveProperty('Agent');
    expect(await loadJose()).toHaveProperty('jwtVerify');
  });

  it('are refused when they are too old', () => {
    expect(() => checked({ Agent: {} }, 'cacheStores', 'A broker needs undici 7')).toThrow('A broker needs undici 7');
  });

  it('keep no application with another version from installing the mesh', () => {
    const { peerDependencies } = JSON.parse(readFileSync(join(ROOT, 'package/manifest.json'), 'utf8')) as {
      peerDependencies: Record<string, string>;
    };
    expect(peerDependencies).toMatchObject({ express: '*', jose: '*', 'swagger-ui-dist': '*', undici: '*' });
  });
});
