import { once } from 'node:events';
import { createServer, request as nodeRequest, type IncomingHttpHeaders, type Server } from 'node:http';
import { connect, type AddressInfo } from 'node:net';
import { buffer } from 'node:stream/consumers';
import fc from 'fast-check';
import { Agent, request } from 'undici';
import { HTTP, toBatch, type OutgoingMessage } from '../../src/infrastructure/cloudevents/http-binding.js';
import { toEvents, type HttpMessage } from '../../src/infrastructure/cloudevents/http-parser.js';
import { anyEvent, LEAST, throughHeaders } from '../support/cloud-events.js';

/** Sends a message and gives back the answer. */
type Client = (url: string, message: OutgoingMessage) => Promise<HttpMessage>;

const agent = new Agent();
const CLIENTS: Record<string, Client> = {
  async undici(url, { headers, body }) {
    const answer = await request(url, { method: 'POST', headers, body, dispatcher: agent });
    return { headers: answer.headers, body: Buffer.from(await answer.body.arrayBuffer()) };
  },
  async node(url, { headers, body }) {
    const sent = nodeRequest(url, { method: 'POST', headers }).end(body);
    const [answer] = (await once(sent, 'response')) as [NodeJS.ReadableStream & { headers: IncomingHttpHeaders }];
    return { headers: answer.headers, body: await buffer(answer) };
  },
};

describe('Over a socket', () => {
  let server: Server;
  let url: string;

  // Reads what comes and sends it back, in the mode that the path says.
  beforeAll(async () => {
    server = createServer((incoming, outgoing) => {
      void buffer(incoming).then((body) => {
        const headers = incoming.url === '/binary' ? incoming.headersDistinct : incoming.headers;
        try {
          const events = toEvents({ headers, body });
          const answer =
            incoming.url === '/batch' ? toBatch(events) : HTTP[incoming.url!.slice(1) as 'binary'](events[0]!);
          outgoing.writeHead(200, answer.headers).end(answer.body);
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

  describe.each(Object.entries(CLIENTS))('by %s', (_, client) => {
    it('any event comes back the same in binary mode', async () => {
      await fc.assert(
        fc.asyncProperty(anyEvent, async (event) => {
          expect(toEvents(await client(`${url}/binary`, HTTP.binary(event)))).toEqual([throughHeaders(event)]);
        }),
        { numRuns: 200 },
      );
    }, 60_000);

    it('any event comes back the same in structured mode', async () => {
      await fc.assert(
        fc.asyncProperty(anyEvent, async (event) => {
          expect(toEvents(await client(`${url}/structured`, HTTP.structured(event)))).toEqual([event]);
        }),
        { numRuns: 100 },
      );
    }, 60_000);

    it('any events come back the same in a batch', async () => {
      await fc.assert(
        fc.asyncProperty(fc.array(anyEvent, { maxLength: 4 }), async (events) => {
          expect(toEvents(await client(`${url}/batch`, toBatch(events)))).toEqual(events);
        }),
        { numRuns: 50 },
      );
    }, 60_000);
  });

  it('raw UTF-8 in a header is understood', async () => {
    const socket = connect((server.address() as AddressInfo).port, '127.0.0.1');
    const attributes =
      'Ce-Specversion: 1.0\r\nCe-Id: 1\r\nCe-Source: /shop\r\nCe-Type: org.example.sold\r\nCe-Subject: Żytnia à\r\n';
    socket.write(`POST /structured HTTP/1.1\r\nHost: a\r\n${attributes}Content-Length: 0\r\nConnection: close\r\n\r\n`);
    const answer = (await buffer(socket)).toString();
    expect(JSON.parse(answer.slice(answer.indexOf('{'), answer.lastIndexOf('}') + 1))).toEqual({
      ...LEAST,
      subject: 'Żytnia à',
    });
  });

  it('a header that is repeated is seen in headersDistinct', async () => {
    const headers = Object.entries(HTTP.binary(LEAST).headers).flat();
    const { statusCode, body } = await request(`${url}/binary`, {
      method: 'POST',
      headers: [...headers, 'ce-id', '2'],
      dispatcher: agent,
    });
    expect([statusCode, await body.text()]).toEqual([400, 'Error: id: expected once']);
  });
});
