import { startBroker, type Broker, type BrokerOptions } from '../../tools/broker/broker.js';
import { broker, event, manifests, Recorder, temporaryFolder, send, trigger, type Reply } from './broker-requests.js';

/** A laptop broker and a subscriber for each test of a suite. Both are stopped after the tests. */
export function laptopBroker() {
  const folder = temporaryFolder();
  const subscriber = new Recorder();
  let running: Broker | undefined;
  const newDatabase = () => `sqlite:${folder.path}/${Math.random().toString(36).slice(2)}.db`;

  async function stop(graceMs = 0): Promise<void> {
    await running?.stop(graceMs);
    running = undefined;
    subscriber.received.length = 0;
    subscriber.script = () => undefined;
  }

  /** Starts a broker for these resources. */
  async function startFor(resources: object[], options: Partial<BrokerOptions> = {}): Promise<Broker> {
    await stop();
    const defaults = { manifests: manifests(...resources), port: 0, database: newDatabase(), services: {} };
    running = await startBroker({ ...defaults, ...options });
    return running;
  }

  /** Starts a broker `default/demo` with one trigger for the subscriber's /sub. @returns its URL */
  async function start(delivery?: object, options: Partial<BrokerOptions> = {}): Promise<string> {
    const spec = { broker: 'demo', subscriber: { uri: `${subscriber.url}/sub` } };
    return (await startFor([broker('demo', delivery), trigger('one', spec)], options)).url;
  }

  /** Sets the answers of /sub, one after another. The last one is repeated. */
  function answering(...replies: Reply[]): void {
    let n = 0;
    subscriber.script = ({ path }) => (path === '/sub' ? replies[Math.min(n++, replies.length - 1)] : {});
  }

  beforeAll(() => subscriber.start());
  afterEach(() => stop());
  afterAll(async () => {
    await subscriber.stop();
    folder.remove();
  });
  return { subscriber, start, startFor, stop, answering, newDatabase, post };
}

/** Posts an event to `default/demo`. */
function post(url: string, attributes: Record<string, string> = {}, body = '{"a":1}') {
  return send(url, '/default/demo', { headers: event(attributes), body });
}
