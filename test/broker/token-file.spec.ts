import { chmodSync, mkdirSync, mkdtempSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { inspect } from 'node:util';
import { TokenFile } from '../../src/infrastructure/broker/token-file.js';
import '../support/frozen-clock.js';
import { clock } from '../support/issuer.js';

describe('The token file', () => {
  let folder: string;
  let path: string;
  beforeEach(() => {
    clock.aheadMs = 0;
    folder = mkdtempSync(join(tmpdir(), 'token-file-'));
    path = join(folder, 'token');
  });
  afterEach(() => rmSync(folder, { recursive: true }));

  /** Replaces the token as the kubelet does: `token` links to `..data/token`, and a rename replaces `..data`. */
  function project(generation: string, token: string): void {
    mkdirSync(join(folder, generation));
    writeFileSync(join(folder, generation, 'token'), token);
    symlinkSync(generation, join(folder, '..data_tmp'));
    renameSync(join(folder, '..data_tmp'), join(folder, '..data'));
  }

  it('is read again after 10 s, also when its link has another target', async () => {
    project('..1', 'first\n');
    symlinkSync('..data/token', path);
    const file = new TokenFile(path);
    expect(await file.authorization()).toBe('Bearer first');
    project('..2', '  second ');
    rmSync(join(folder, '..1'), { recursive: true });
    clock.aheadMs = 9900;
    expect(await file.authorization()).toBe('Bearer first');
    clock.aheadMs = 10_100;
    expect(await file.authorization()).toBe('Bearer second');
  });

  it('is read again at once after forget(), also when that is called during a read', async () => {
    writeFileSync(path, 'first');
    const file = new TokenFile(path);
    expect(await file.authorization()).toBe('Bearer first');
    writeFileSync(path, 'second');
    file.forget();
    expect(await file.authorization()).toBe('Bearer second');
    file.forget();
    const inFlight = file.authorization();
    file.forget();
    await inFlight;
    writeFileSync(path, 'third');
    expect(await file.authorization()).toBe('Bearer third');
  });

  it('is read once for concurrent callers', async () => {
    writeFileSync(path, 'first');
    const file = new TokenFile(path);
    const [one, other] = [file.authorization(), file.authorization()];
    expect(one).toBe(other);
    expect(await one).toBe('Bearer first');
  });

  it('is named in the error when it holds no token, and is read again by the next call', async () => {
    const file = new TokenFile(path);
    await expect(file.authorization()).rejects.toThrow(`${path} can't be read: ENOENT`);
    for (const content of ['', ' \n', 'two words', 'secret-of-a-kind\nsecret-of-a-kind', 'sécret']) {
      writeFileSync(path, content);
      const error = await file.authorization().catch((it: unknown) => it);
      expect(error).toEqual(new Error(`The token file ${path} doesn't hold a token`));
      expect(inspect(error, { showHidden: true })).not.toContain('secret-of');
    }
    const folderAsFile = new TokenFile(folder);
    await expect(folderAsFile.authorization()).rejects.toThrow(`${folder} can't be read: EISDIR`);
    writeFileSync(path, 'good');
    expect(await file.authorization()).toBe('Bearer good');
    if (process.getuid?.() === 0) return;
    chmodSync(path, 0o000);
    file.forget();
    await expect(file.authorization()).rejects.toThrow('EACCES');
  });
});
