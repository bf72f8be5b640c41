import { once } from 'node:events';
import { createServer, request as nodeRequest, type IncomingHttpHeaders, type Server } from 'node:http';
import { connect, type AddressInfo } from 'node:net';
import { buffer } from 'node:stream/consumers';
import fc from 'fast-check';
import { Agent, request } from 'undici';
import { HTTP, toBatch, type OutgoingMessage } from '../../src/infrastructure/cloudevents/http-binding.js';
import { toEvents, type HttpMessage } from '../../src/infrastructure/cloudevents/http-parser.js';
import { anyEvent, MINIMAL_EVENT, throughHeaders } from '../support/cloud-events.js';

/** Sends a message and returns the response. */
type Client = (url: string, message: OutgoingMessage) => Promise<HttpMessage>;

const agent = new Agent();
const CLIENTS: Record<string, Client> = {
  async undici(url, { headers, body }) {
    const response = await request(url, { method: 'POST', headers, body, dispatcher: agent });
    return { headers: response.headers, body: Buffer.from(await response.body.arrayBuffer()) };
  },
  async node(url, { headers, body }) {
    const sent = nodeRequest(url, { method: 'POST', headers }).end(body);
    const [response] = (await once(sent, 'response')) as [NodeJS.ReadableStream & { headers: IncomingHttpHeaders }];
    return { headers: response.headers, body: await buffer(response) };
  },
};

describe('Over a socket', () => {
  let server: Server;
  let url: string;

  // An echo server: the path chooses the mode of the response.
  beforeAll(async () => {
    server = createServer((incoming, outgoing) => {
      void buffer(incoming).then((body) => {
        const headers = incoming.url === '/binary' ? incoming.headersDistinct : incoming.headers;
        try {
          const events = toEvents({ headers, body });
          const response =
            incoming.url === '/batch' ? toBatch(events) : HTTP[incoming.url!.slice(1) as 'binary'](events[0]!);
          outgoing.writeHead(200, response.headers).end(response.body);
        } catch (error) {
          outgoing.writeHead(400).end(String(error));
        }
      });
    }).listen(0, '127.0.0.1');
    await once(server, 'listening');
    url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  });
  afterAll(async () => {
    await agent.close();
    server.closeAllConnections();
    await new Promise((closed) => server.close(closed));
  });

  describe.each(Object.entries(CLIENTS))('with %s', (_, client) => {
    it('every event arrives unchanged in binary mode', async () => {
      await fc.assert(
        fc.asyncProperty(anyEvent, async (event) => {
          expect(toEvents(await client(`${url}/binary`, HTTP.binary(event)))).toEqual([throughHeaders(event)]);
        }),
        { numRuns: 200 },
      );
    }, 120_000);

    it('every event arrives unchanged in structured mode', async () => {
      await fc.assert(
        fc.asyncProperty(anyEvent, async (event) => {
          expect(toEvents(await client(`${url}/structured`, HTTP.structured(event)))).toEqual([event]);
        }),
        { numRuns: 100 },
      );
    }, 120_000);

    it('every batch of events arrives unchanged', async () => {
      await fc.assert(
        fc.asyncProperty(fc.array(anyEvent, { maxLength: 4 }), async (events) => {
          expect(toEvents(await client(`${url}/batch`, toBatch(events)))).toEqual(events);
        }),
        { numRuns: 50 },
      );
    }, 120_000);
  });

  it('raw UTF-8 in a header is read', async () => {
    const socket = connect((server.address() as AddressInfo).port, '127.0.0.1');
    const attributes =
      'Ce-Specversion: 1.0\r\nCe-Id: 1\r\nCe-Source: /shop\r\nCe-Type: org.example.sold\r\nCe-Subject: Żytnia à\r\n';
    socket.write(
      `POST /structured HTTP/1.1\r\nHost: localhost\r\n${attributes}Content-Length: 0\r\nConnection: close\r\n\r\n`,
    );
    const response = (await buffer(socket)).toString();
    expect(JSON.parse(response.slice(response.indexOf('{'), response.lastIndexOf('}') + 1))).toEqual({
      ...MINIMAL_EVENT,
      subject: 'Żytnia à',
    });
  });

  it('a repeated header is refused when headersDistinct is parsed', async () => {
    const headers = Object.entries(HTTP.binary(MINIMAL_EVENT).headers).flat();
    const { statusCode, body } = await request(`${url}/binary`, {
      method: 'POST',
      headers: [...headers, 'ce-id', '2'],
      dispatcher: agent,
    });
    expect([statusCode, await body.text()]).toEqual([400, 'Error: id: expected once']);
  });
});
