/** Something that the laptop broker does otherwise than a real one, and why. */
export interface Difference {
  readonly difference: string;
  readonly reason: string;
  /** The recordings in which it shows, as `<file>: <name>`. A test holds this list to what really differs. */
  readonly captures: readonly string[];
  /** Headers in which it shows wherever an event is forwarded. */
  readonly headers?: readonly string[];
}

const cesql = (name: string) => `filters: cesql ${name}`;
const redirect = (status: number) => `filter-direct: filter answer: subscriber ${status} with Location`;

/** Compared with the recordings of Knative Eventing 1.12.6 (ingress, filter, in-memory channel). */
export const DIFFERENCES: readonly Difference[] = [
  {
    difference: '202 means on disk, in SQLite, committed with synchronous=FULL. The in-memory channel keeps it in memory.',
    reason:
      'A laptop broker that loses messages when it is restarted would hide the mistakes that it is there to show.',
    captures: [],
  },
  {
    difference: 'What its dead letter sink refuses, or what has no sink, is parked: GET /mesh/dead-letters, and replayed from there. A real broker drops it.',
    reason: 'On a laptop the sink is often simply not running.',
    captures: [],
  },
  {
    difference: 'GET and DELETE under /mesh/ look after the broker itself. A real one answers 405.',
    reason: 'It has to be looked into somehow; the commands for the application work on it as well.',
    captures: [],
  },
  {
    difference: 'Redirects are not followed: any 3xx is a failure, not retried, and ends in the dead letter sink.',
    reason:
      'A real broker turns an event that meets a 302 into a GET without a body, which then counts as delivered. That is better seen on the laptop.',
    captures: [301, 302, 303, 307, 308].map(redirect),
  },
  {
    difference: 'An error body of 769 bytes or more is cut in the dead letter. The real dispatcher crashes.',
    reason: 'That is a bug of the real one. The application keeps its error bodies short because of it.',
    captures: [],
  },
  {
    difference: 'An event of more than 16 MiB is answered 413. A real ingress knows no limit; 64 MiB were accepted.',
    reason: 'Every event is written into SQLite inside of a unit of work, which may take a second.',
    captures: ['ingress: binary: huge body 64 MiB (octet-stream)'],
  },
  {
    difference: 'CESQL filters are refused at the start, with the name of the file.',
    reason: 'A language of its own, which nothing here uses.',
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
    difference: 'There is one process and one address: no filter at /triggers/…, which would take an event that an ingress refuses or mends.',
    reason: 'Ingress, channel and filter are one process here; nobody outside of a broker talks to its filter.',
    captures: [
      'filter-direct: filter answer: no ttl',
      'filter-direct: filter answer: ttl abc',
      'filter-direct: filter answer: path /',
      'filter-direct: filter answer: method OPTIONS',
      'filter-direct: filter answer: missing id (not validated here)',
    ],
  },
  {
    difference: 'There is no channel that could be out of reach: a broker that the manifests name works, any other is unknown (400).',
    reason: 'It is its own channel.',
    captures: ['ingress: path /default/deadchannel'],
  },
  {
    difference: 'A reply without datacontenttype arrives without Content-Type. A real one arrives as text/plain; charset=utf-8.',
    reason: "An accident of Go's HTTP server, which guesses a type for the filter's answer.",
    captures: ['filter-direct: filter answer: subscriber 200 structured event'],
  },
  {
    difference: 'It calls itself meshy-cabs-laptop-broker where a real one says Go-http-client/1.1, and asks for no compression.',
    reason: 'It should not pass for something that it is not.',
    captures: [],
    headers: ['user-agent', 'accept-encoding'],
  },
  {
    difference: 'First attempts of a partition key start in order; the in-memory channel promises no order.',
    reason: 'Our delivery engine does so anyway. Code that needs the order would fail in production.',
    captures: [],
  },
  {
    difference: 'Where no timeout is given, an answer is awaited for 5 minutes. A real broker waits for ever.',
    reason: 'A subscriber that hangs would hold its place until the broker is restarted.',
    captures: [],
  },
  {
    difference: 'A string with control characters in a structured event is answered 400: no header can carry it.',
    reason: 'A real ingress would try to forward it, and answer 500 each time (read in the source, not recorded).',
    captures: [],
  },
  {
    difference: 'No TLS, no OIDC, no event policies; it listens on the loopback address only.',
    reason: 'It is for one developer on one machine.',
    captures: [],
  },
];
