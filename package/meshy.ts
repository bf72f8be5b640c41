#!/usr/bin/env node
import { meshy } from '../tools/meshy-command.js';

/* The command line `meshy`. */

await meshy(process.argv.slice(2));
