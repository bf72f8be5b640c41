import { CloudEvent as SdkEvent, HTTP as SDK } from 'cloudevents';
import { MalformedEvent } from '../../src/infrastructure/cloudevents/attributes.js';
import { HTTP } from '../../src/infrastructure/cloudevents/http-binding.js';
import { toEvents } from '../../src/infrastructure/cloudevents/http-parser.js';
import {
  binary,
  FULL,
  json,
  MINIMAL_EVENT,
  MINIMAL_HEADERS,
  rejectionOf,
  STRUCTURED,
} from '../support/cloud-events.js';

const parsedBySdk = (headers: object, body: unknown = '{}') =>
  SDK.toEvent({ headers: { ...headers }, body }) as SdkEvent;

describe('Unlike in the cloudevents SDK,', () => {
  const typed = { ...MINIMAL_HEADERS, 'content-type': 'application/json' };

  it.each([
    ['a version of 2.0', { 'ce-specversion': '2.0' }, { specversion: '2.0' }],
    ['a type of nothing', { 'ce-type': '' }, { type: '' }],
    ['a time of nonsense', { 'ce-time': 'lunchtime' }, { time: expect.stringMatching(/^20\d\d-/) }],
  ])('%s is refused here', (_, wrong, accepted) => {
    expect(parsedBySdk({ ...typed, ...wrong })).toMatchObject(accepted);
    expect(() => binary({ ...typed, ...wrong }, '{}')).toThrow(MalformedEvent);
  });

  it('upper-case names are refused in JSON, and lowered in headers', () => {
    const body = json({ ...MINIMAL_EVENT, MyExtension: 'a' });
    expect(parsedBySdk({ 'content-type': STRUCTURED }, body.toString())).toMatchObject({ MyExtension: 'a' });
    expect(rejectionOf({ 'content-type': STRUCTURED }, body)).toMatch(/^MyExtension: /);
    expect(binary({ ...MINIMAL_HEADERS, 'Ce-Mine': 'a' })).toEqual({ ...MINIMAL_EVENT, mine: 'a' });
  });

  it('headers are encoded and decoded here', () => {
    expect(SDK.binary(new SdkEvent({ ...MINIMAL_EVENT, subject: 'Ż' })).headers['ce-subject']).toBe('Ż');
    expect(parsedBySdk({ ...typed, 'ce-subject': '%C5%BB' })).toMatchObject({ subject: '%C5%BB' });
    expect(
      binary({ ...typed, 'ce-subject': HTTP.binary({ ...MINIMAL_EVENT, subject: 'Ż' }).headers['ce-subject'] }),
    ).toMatchObject({
      subject: 'Ż',
    });
  });

  it('the bytes of a body are parsed here, and a time keeps its digits', () => {
    expect(parsedBySdk(typed, Buffer.from('{}')).data).toBeInstanceOf(Buffer);
    expect(binary(typed, '{}')).toMatchObject({ data: {} });
    expect(JSON.parse(new SdkEvent(FULL).toString())).toMatchObject({ time: '2026-03-29T01:30:00.123Z' });
    expect(binary(HTTP.binary(FULL).headers, '{}')).toMatchObject({ time: FULL.time });
  });
});

describe('The cloudevents SDK', () => {
  it('reads the messages that our binding writes, and writes messages that it reads', () => {
    const event = { ...FULL, subject: 'plain', time: '2026-03-29T01:30:00.123Z' };
    const { headers, body } = HTTP.binary(event);
    expect({ ...parsedBySdk(headers, body) }).toEqual(expect.objectContaining({ ...event, empty: '' }));
    for (const message of [SDK.binary(new SdkEvent(event)), SDK.structured(new SdkEvent(event))]) {
      expect(toEvents({ headers: message.headers, body: Buffer.from(message.body as string) })).toEqual([event]);
    }
  });
});
