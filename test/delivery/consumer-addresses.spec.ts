import { ConsumerAddresses } from '../../src/infrastructure/delivery/consumer-addresses.js';
import { urlOf } from '../../tools/broker/addresses.js';
import { publishRouting } from '../../src/infrastructure/broker/publish-routing.js';
import { behaviourOf, plantedModules } from '../support/planted.js';

const { Left, Right } = plantedModules(behaviourOf({}));
const WORK = 'planted.left.work';
const HAPPENED = 'planted.left.happened';
const NEWER = 'planted.left.newer';
const FILTER = 'http://broker-filter.knative-eventing.svc.cluster.local/triggers/planted/right/0f1c?x=1';

describe('The consumers of a dead letter', () => {
  const split = new ConsumerAddresses({ left: 'http://left.example', right: 'http://right.example/' }, [Left, Right]);
  const monolith = new ConsumerAddresses({ left: 'http://all.example', right: 'http://all.example' }, [Left, Right]);

  it.each<[string, string | undefined, string[]]>([
    [HAPPENED, undefined, ['left', 'right']],
    [HAPPENED, 'not a URL', ['left', 'right']],
    [HAPPENED, 'http://right.example/mesh/right', ['right']],
    [HAPPENED, 'http://right.example/mesh/right//', ['right']],
    [HAPPENED, 'http://RIGHT.example/mesh/right?x=1#y', ['right']],
    [HAPPENED, 'http://right.example', ['right']],
    [HAPPENED, 'http://right.example/anything', ['right']],
    [HAPPENED, FILTER, ['left', 'right']],
    [HAPPENED, 'http://169.254.169.254/latest', ['left', 'right']],
    // Another name or port of the host.
    [HAPPENED, 'http://right.planted.svc.cluster.local/mesh/right', ['right']],
    [HAPPENED, 'http://right.example:8080/mesh/right/', ['right']],
    // The module of another application, or the ingress of a broker called right in a namespace called mesh.
    [WORK, 'http://elsewhere.example/mesh/right', ['left']],
    [WORK, 'http://right.example/mesh/right', ['right']],
    [WORK, 'http://right.example/', ['left']],
    // A type that this release doesn't know.
    [NEWER, 'http://right.example/', ['right']],
    [NEWER, 'http://elsewhere.example/mesh/right', ['right']],
    [NEWER, FILTER, []],
    [NEWER, undefined, []],
  ])('%s at %s are %j', (type, destination, consumers) => {
    expect(split.failedConsumers(type, destination)).toEqual(consumers);
  });

  it('are those of the type where one process hosts all modules', () => {
    expect(monolith.failedConsumers(WORK, 'http://all.example/')).toEqual(['left']);
    expect(monolith.failedConsumers(HAPPENED, 'http://all.example/')).toEqual(['left', 'right']);
    expect(monolith.failedConsumers(HAPPENED, 'http://all.example/mesh/right')).toEqual(['right']);
    expect(monolith.failedConsumers(NEWER, 'http://all.example/')).toEqual([]);
  });

  it('have addresses that contain nothing of the destination', () => {
    expect(split.addressOf('right')).toBe('http://right.example/mesh/right');
    expect(new ConsumerAddresses({}, [Left, Right]).addressOf('right')).toBeUndefined();
  });

  it.each(['constructor', 'toString', '__proto__', 'hasOwnProperty'])('have no address called %s', (name) => {
    expect(split.addressOf(name)).toBeUndefined();
    expect(split.failedConsumers(NEWER, `http://right.example/mesh/${name}`)).toEqual(['right']);
    expect(publishRouting([Left, Right]).routeOf(name)).toEqual({ order: '', group: '' });
    expect(urlOf({ service: name }, {})).toBeUndefined();
  });

  it('have exactly one address each', () => {
    expect(split.isAddress('http://right.example/mesh/right')).toBe(true);
    const others = ['/mesh/left', '/mesh/right/', '/mesh/right?x', '/clients', '/mesh/constructor', ''];
    for (const path of others) expect(split.isAddress(`http://right.example${path}`)).toBe(false);
  });
});
