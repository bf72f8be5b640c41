import 'reflect-metadata';
import { Receiver } from '../src/infrastructure/messaging/receiver.js';
import { Relay } from '../src/infrastructure/messaging/relay.js';
import { openNotes, settled } from './notes.js';

/*
 * The application of the notes as a process of its own, on the DATABASE of its environment. Its relay stands still until it
 * is told to go; each time it says when so many messages were settled, and all the time how many have been.
 */

/** What it is told: to settle so many messages, which are there; or as many as there are. */
export interface Go {
  readonly go: number | 'on';
}

/** How long the messages took that it was told to settle, once its relay had started, and how long that took; in ms. */
export interface Took {
  readonly ms: number;
  readonly startMs: number;
}

/** What it tells: that it is ready; how many were settled since it was told to go; that those it was told are. */
export type Told = { readonly ready: true } | { readonly settled: number } | Took;

const TELL_EVERY_MS = 10;

const app = await openNotes(process.env.DATABASE!);
const relay = app.get(Relay);
await relay.stop(0);
const tell = (what: Told) => process.send!(what);

process.on('message', (message: Go) => void go(message));
process.once('disconnect', () => process.exit());
tell({ ready: true });

async function go({ go: howMany }: Go): Promise<void> {
  const last = settled.next(howMany === 'on' ? Infinity : howMany);
  if (howMany === 'on') setInterval(() => tell({ settled: settled.count }), TELL_EVERY_MS);
  const asked = performance.now();
  await relay.start(app.get(Receiver).consumers);
  const started = performance.now();
  const ms = (await last) - started;
  // What is filled in from now on is left alone until it is told to go again.
  await relay.stop(0);
  tell({ ms, startMs: started - asked });
}
