import { namedUrlsOf, oneUrlOf, urlsOf } from '../../tools/command-line.js';
import { deadLetterArguments } from '../../tools/dead-letter-arguments.js';
import { UsageError } from '../../tools/errors.js';

describe('The arguments of npm run mesh:dead-letters', () => {
  it.each<[string[], Record<string, unknown>]>([
    [['list'], { consumer: 'rides', type: 't', cause: 'c', page: '2', size: '5' }],
    [['list'], { by: 'cause', consumer: 'rides' }],
    [['show', 'a-1'], { all: undefined }],
    [['replay', 'a-1'], { force: true, all: false }],
    [['replay'], { all: true, force: true, consumer: 'rides', type: 't', cause: 'c' }],
    [['discard', 'a-1'], {}],
  ])('are accepted: %j with %j', ([command, id = ''], values) => {
    const positionals = [command!, ...(id && [id])];
    expect(deadLetterArguments({ url: ['http://localhost'], ...values }, positionals)).toEqual({ command, id });
  });

  it.each<[string[], Record<string, unknown>, string]>([
    [['discard', 'A', 'B'], {}, 'Unexpected argument "B": discard <id> takes one id.'],
    [['replay', 'A', 'B'], {}, 'Unexpected argument "B": replay <id> takes one id.'],
    [['show', 'A', ''], {}, 'Unexpected argument "": show <id> takes one id.'],
    [['list', 'A'], {}, 'Unexpected argument "A": list takes no id.'],
    [['replay', 'A'], { all: true }, 'Unexpected argument "A": replay --all takes no id.'],
    [['replay', 'A'], { consumer: 'x' }, "Unexpected option --consumer: replay <id> doesn't take it."],
    [['discard', 'A'], { consumer: 'x' }, "Unexpected option --consumer: discard <id> doesn't take it."],
    [['discard', 'A'], { all: true }, "Unexpected option --all: discard <id> doesn't take it."],
    [['discard', 'A'], { force: true }, "Unexpected option --force: discard <id> doesn't take it."],
    [['show', 'A'], { type: '' }, "Unexpected option --type: show <id> doesn't take it."],
    [['list'], { force: true }, "Unexpected option --force: list doesn't take it."],
    [['list'], { by: 'cause', page: '2' }, "Unexpected option --page: list --by doesn't take it."],
    [['replay'], { all: true, page: '2' }, "Unexpected option --page: replay --all doesn't take it."],
    [['replay'], {}, 'Missing <id>: which dead letter to replay?'],
    // As a segment of the path of a request, it would replay all.
    [['replay', '.'], {}, 'Invalid <id> ".": expected the id of a dead letter.'],
    [['discard', 'a/../b'], {}, 'Invalid <id> "a/../b": expected the id of a dead letter.'],
  ])('are refused: %j with %j', (positionals, values, message) => {
    expect(() => deadLetterArguments({ url: ['http://localhost'], ...values }, positionals)).toThrow(
      new UsageError(message),
    );
  });
});

it('Two URLs for one service are refused', () => {
  const [a, b] = ['cabs=http://a', 'shop=http://b'];
  expect(namedUrlsOf('--service', [a, b])).toEqual({ cabs: 'http://a', shop: 'http://b' });
  expect(() => namedUrlsOf('--service', [a, b, 'cabs=http://c'])).toThrow(
    new UsageError('Repeated --service cabs: expected one URL of each name.'),
  );
});

describe('The URL of an application', () => {
  const { MESH_URL, PORT } = process.env;
  beforeEach(() => delete process.env.PORT);
  afterEach(() => {
    for (const [name, value] of Object.entries({ MESH_URL, PORT })) {
      if (value === undefined) delete process.env[name];
      else process.env[name] = value;
    }
  });
  const invalid = (name: string, url: string) =>
    new UsageError(`Invalid ${name} "${url}": expected an absolute URL such as http://localhost:3000.`);

  it('is that of --url, else of the variable, else localhost', () => {
    process.env.MESH_URL = 'http://a/, https://b';
    expect(urlsOf(undefined, 'MESH_URL')).toEqual(['http://a', 'https://b']);
    expect(urlsOf(['http://c', 'http://d'], 'MESH_URL')).toEqual(['http://c', 'http://d']);
    expect(oneUrlOf('http://c/', 'MESH_URL')).toBe('http://c');
    process.env.MESH_URL = '';
    expect(oneUrlOf(undefined, 'MESH_URL')).toBe('http://localhost:3000');
    process.env.PORT = '4000';
    expect(oneUrlOf(undefined, 'MESH_URL')).toBe('http://localhost:4000');
  });

  it.each(['localhost:3000', 'localhost', '', 'ftp://a', 'http://', 'http://a,http://b'])('is refused: %j', (url) => {
    expect(() => oneUrlOf(url, 'MESH_URL')).toThrow(invalid('--url', url));
    expect(() => namedUrlsOf('--service', [`a=${url}`])).toThrow(UsageError);
  });

  it('names the variable in the error when no option was given', () => {
    process.env.MESH_URL = 'localhost:3000';
    expect(() => urlsOf(undefined, 'MESH_URL')).toThrow(invalid('MESH_URL', 'localhost:3000'));
    process.env.MESH_URL = 'http://a,http://b';
    expect(() => oneUrlOf(undefined, 'MESH_URL')).toThrow(
      new UsageError('Invalid MESH_URL "http://a,http://b": expected one URL. Choose it with --url.'),
    );
  });
});
