/** A difference between the laptop broker and a real broker, and the reason for it. */
export interface Difference {
  readonly difference: string;
  readonly reason: string;
  /** The recordings that differ, as `<file>: <name>`. A test compares this list with the real differences. */
  readonly captures: readonly string[];
  /** Headers that differ in all forwarded events. */
  readonly headers?: readonly string[];
}

const cesql = (name: string) => `filters: cesql ${name}`;
const redirect = (status: number) => `filter-direct: filter answer: subscriber ${status} with Location`;

/** All differences from the recordings of Knative Eventing 1.12.6 (ingress, filter, in-memory channel). */
export const DIFFERENCES: readonly Difference[] = [
  {
    difference:
      'An accepted event is on disk before the answer 202, in SQLite with synchronous=FULL. The in-memory channel keeps it in memory.',
    reason: 'A laptop broker that loses messages at a restart would hide the mistakes that it should show.',
    captures: [],
  },
  {
    difference:
      'A dead letter that the dead letter sink refuses, or that has no sink, is parked in the broker. GET /mesh/dead-letters lists it, and it can be replayed. A real broker drops it.',
    reason: 'On a laptop the sink is often not running.',
    captures: [],
  },
  {
    difference: 'GET and DELETE under /mesh/ are for the administration of the broker. A real broker answers 405.',
    reason: 'The commands for the application (npm run mesh:dead-letters) work on the broker, too.',
    captures: [],
  },
  {
    difference:
      'Redirects are not followed. Any 3xx is a failure without a retry, and the event goes to the dead letter sink.',
    reason:
      'After a 302 a real broker sends a GET without a body, and the event counts as delivered. Such a mistake should show on the laptop.',
    captures: [301, 302, 303, 307, 308].map(redirect),
  },
  {
    difference: 'An error body of 769 bytes or more is truncated in the dead letter. The real dispatcher crashes.',
    reason: 'The crash is a bug of the real dispatcher. The application keeps its error bodies short because of it.',
    captures: [],
  },
  {
    difference: 'An event of more than 16 MiB is answered 413. A real ingress has no limit; it accepted 64 MiB.',
    reason: 'Each event is written to SQLite in a unit of work, which may take 1 s at most.',
    captures: ['ingress: binary: huge body 64 MiB (octet-stream)'],
  },
  {
    difference: 'CESQL filters are refused at the start, with the name of the file.',
    reason: 'CESQL is a language of its own, and no manifest here uses it.',
    captures: [
      "type = ''",
      'LIKE',
      'EXISTS',
      'int compare',
      'missing attr compare',
      'NOT missing',
      'non-boolean result',
      'string true',
      'division by zero',
      'IN',
      'TRUE',
      'ABS(bad) function error',
      'syntax error (normally refused by the admission webhook; kills the filter process here)',
    ].map(cesql),
  },
  {
    difference:
      'There is one process with one address, without a filter at /triggers/…. A real filter accepts events that an ingress refuses or corrects.',
    reason: 'Ingress, channel and filter are one process here, and no client sends requests to the filter of a broker.',
    captures: [
      'filter-direct: filter answer: no ttl',
      'filter-direct: filter answer: ttl abc',
      'filter-direct: filter answer: path /',
      'filter-direct: filter answer: method OPTIONS',
      'filter-direct: filter answer: missing id (not validated here)',
    ],
  },
  {
    difference:
      'There is no channel that could be unreachable. A broker in the manifests works, and any other is unknown (400).',
    reason: 'The laptop broker is its own channel.',
    captures: ['ingress: path /default/deadchannel'],
  },
  {
    difference:
      'A reply without datacontenttype is forwarded without Content-Type. A real broker forwards it as text/plain; charset=utf-8.',
    reason: "Go's HTTP server guesses a content type for the filter's answer.",
    captures: ['filter-direct: filter answer: subscriber 200 structured event'],
  },
  {
    difference:
      'The User-Agent is meshy-cabs-laptop-broker instead of Go-http-client/1.1, and there is no Accept-Encoding.',
    reason: 'The log of a subscriber should show that the request came from a development tool.',
    captures: [],
    headers: ['user-agent', 'accept-encoding'],
  },
  {
    difference: 'The first attempts of a partition key start in order. The in-memory channel promises no order.',
    reason: 'The delivery engine of the application keeps this order. Code that needs it would fail in production.',
    captures: [],
  },
  {
    difference:
      'Without a timeout in the manifest, the broker waits 5 minutes for an answer. A real broker waits for ever.',
    reason: 'A subscriber that hangs would otherwise block its deliveries until the broker is restarted.',
    captures: [],
  },
  {
    difference:
      'A structured event with control characters in a string is answered 400, because no header can hold them.',
    reason:
      'A real ingress tries to forward the event, and answers 500 each time (from its source code, not recorded).',
    captures: [],
  },
  {
    difference: 'There is no TLS, no OIDC and no event policy. The broker listens on the loopback address only.',
    reason: 'The laptop broker is for one developer on one machine.',
    captures: [],
  },
];
