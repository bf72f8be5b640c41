import { QUICK_PLACES, testTransports } from './every-transport.js';

testTransports(QUICK_PLACES);
