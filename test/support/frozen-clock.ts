import { clock } from './issuer.js';

/*
 * Importing this file stops `performance.now()`, by which keys and token files are read again: only `clock.aheadMs` moves
 * it, so a slow machine reaches no pause by itself. issuer.ts restores it after the suite.
 */
const start = performance.now() - clock.aheadMs;
performance.now = () => start + clock.aheadMs;
