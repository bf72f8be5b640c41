/** A difference between the laptop broker and a real broker, and the reason for it. */
export interface Difference {
  readonly difference: string;
  readonly reason: string;
  /**
   * The recordings that differ, as `<file>: <name>`, or as `<version> <file>: <name>` when only the recording of that version
   * differs. A test compares this list with the real differences.
   */
  readonly captures: readonly string[];
  /** Headers that differ in all forwarded events. */
  readonly headers?: readonly string[];
}

const cesql = (name: string) => `filters: cesql ${name}`;
const redirect = (status: number) => `filter-direct: filter answer: subscriber ${status} with Location`;

/**
 * All differences from the recordings of Knative Eventing (ingress, filter, in-memory channel): 1.18.4 for the synchronous
 * channel, 1.12.6 for the asynchronous one.
 */
export const DIFFERENCES: readonly Difference[] = [
  {
    difference:
      'Asynchronous: an accepted event is on disk before the answer 202, in SQLite with synchronous=FULL. The in-memory channel keeps it in memory.',
    reason: 'Losses of the broker would hide the mistakes of the application.',
    captures: [],
  },
  {
    difference:
      'Asynchronous: a dead letter that the dead letter sink refuses, or that has no sink, is parked in the broker. GET /mesh/dead-letters lists it, and it can be replayed. A real broker drops it.',
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
    captures: [
      'failures: dispatcher with error body of 769 bytes, dead letter sink set',
      'failures: dispatcher with error body of 2000 bytes, dead letter sink set',
    ],
  },
  {
    difference: 'An event of more than 16 MiB is answered 413. A real ingress has no limit; it accepted 64 MiB.',
    reason: 'The asynchronous channel writes each event to SQLite in a unit of work, which may take 1 s at most.',
    captures: ['ingress: binary: huge body 64 MiB (octet-stream)'],
  },
  {
    difference:
      'All request bodies that are being read or delivered hold 48 MiB at most; an event beyond that is answered 503. A real ingress has no limit.',
    reason: '40 events of 15 MB took 763 MB of memory. A publisher sends the event again after a 503.',
    captures: [],
  },
  {
    difference:
      'A request to another name than localhost, or of a page of another site, is answered 403. A real broker answers it.',
    reason:
      'A browser on the same machine reaches the laptop broker; only programs in the cluster reach a real broker.',
    captures: [],
  },
  {
    difference: 'A Trigger with a CESQL filter is left out, with a warning at the start.',
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
      'failures: filter down: retries, then dead letter without knativeerror attributes',
    ],
  },
  {
    difference:
      'A broker in the manifests always has a channel, and any other broker is unknown: 404, in the asynchronous mode 400. A real ingress answers 500 when the channel is unreachable, and since 1.17 also when it has no address yet.',
    reason: 'The laptop broker is its own channel.',
    captures: ['ingress: path /default/deadchannel', '1.18.4 ingress: path /default/nochannel'],
  },
  {
    difference:
      'A reply without datacontenttype is forwarded without Content-Type. A real broker forwards it as text/plain; charset=utf-8.',
    reason: "Go's HTTP server guesses a content type for the filter's answer.",
    captures: ['filter-direct: filter answer: subscriber 200 structured event'],
  },
  {
    difference: 'The User-Agent is meshy-laptop-broker instead of Go-http-client/1.1.',
    reason: 'The log of a subscriber should show that the request came from a development tool.',
    captures: [],
    headers: ['user-agent'],
  },
  {
    difference:
      'A filter on time compares 2026-01-02 03:04:05 +0000 UTC, as Knative 1.12 does. Newer versions compare 2026-01-02T03:04:05Z.',
    reason: 'No manifest here filters on time.',
    captures: ['1.18.4 filters: filter time'],
  },
  {
    difference:
      'A request that can be read in two ways is refused: one with Content-Length and Transfer-Encoding, with a repeated Content-Length, or with Transfer-Encoding in HTTP/1.0. Go chooses one reading.',
    reason: "Node's HTTP server refuses most of them, and no client of events sends them.",
    captures: [],
  },
  {
    difference:
      'Without a timeout in the manifest, the broker waits 5 minutes for an answer. A real broker waits for ever; a synchronous channel answers 500 after 15 minutes.',
    reason: 'A subscriber that hangs should show soon.',
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
