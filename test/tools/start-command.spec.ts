import { execFileSync } from 'node:child_process';
import { startCommand } from '../../tools/extraction/start-command.js';

const ALL = ['rides', 'drivers', 'loyalty'];

/** The variables that the command sets when it is pasted into a shell. */
function pasted(command: string): Record<string, string> {
  const program = `"${process.execPath}" -p 'JSON.stringify(process.env)'`;
  const script = command.replace('npm run start:prod', program);
  return JSON.parse(execFileSync('sh', ['-c', script], { encoding: 'utf8' })) as Record<string, string>;
}

describe('The start command of a database', () => {
  it.each(['sqlite:/srv/my data/cabs.db', 'sqlite:/it\'s/$HOME/`id`/"a";b.db', 'postgres://host:5432/cabs?a=1&b=2'])(
    'survives a shell with the address %s',
    (address) => {
      expect(pasted(startCommand({ address, modules: ALL }, ALL))).toMatchObject({ DATABASE_URL: address });
      expect(pasted(startCommand({ address, modules: ['drivers', 'rides'] }, ALL))).toMatchObject({
        DATABASE_URL: address,
        MODULES: 'rides,drivers',
        K_SINK: 'http://<address of the broker>',
        PORT: '<port of REST>',
        MESH_PORT: '<port of the mesh>',
        USVC_LOYALTY: 'http://<host of loyalty>:<its MESH_PORT>',
      });
    },
  );

  it('has no quotes that a shell does not need', () => {
    expect(startCommand({ address: 'sqlite:/data/cabs.db', modules: ALL }, ALL)).toBe(
      '\n  DATABASE_URL=sqlite:/data/cabs.db npm run start:prod',
    );
  });
});
