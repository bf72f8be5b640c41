import { SLOW_PLACES, testTransports } from './every-transport.js';

testTransports(SLOW_PLACES);
