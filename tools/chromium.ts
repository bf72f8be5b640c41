import { existsSync } from 'node:fs';

const PLACES = ['/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome'];

/** The Chromium of the variable CHROMIUM, or that of the system, if there is one. */
export function findChromium(): string | undefined {
  return [process.env.CHROMIUM, ...PLACES].find((it) => it && existsSync(it));
}
