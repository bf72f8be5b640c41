import { existsSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import module from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ROOT } from '../../tools/source.js';
import { DATABASES } from '../support/databases.js';
import { startServer } from '../support/server.js';

const FOLDER = join(ROOT, 'dist/compile-cache');
/** Node 22 and later. */
const HAS_CACHE = 'enableCompileCache' in module;

async function startAndEnd(environment: Record<string, string> = {}): Promise<void> {
  const server = await startServer({ DATABASE_URL: await DATABASES[0]!.fresh(), ...environment });
  expect(await server.end('SIGTERM')).toBe(0);
}

describe('The compiled application', () => {
  it('stores compiled code beside itself where Node can', async () => {
    rmSync(FOLDER, { recursive: true, force: true });
    await startAndEnd();
    expect(existsSync(FOLDER)).toBe(HAS_CACHE);
  });

  it('stores it in the folder of NODE_COMPILE_CACHE, if there is one', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'cabs-compile-cache-'));
    await startAndEnd({ NODE_COMPILE_CACHE: folder });
    expect(readdirSync(folder)).toHaveLength(HAS_CACHE ? 1 : 0);
  });
});
