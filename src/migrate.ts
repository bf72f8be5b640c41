import 'reflect-metadata';
import { hostedBy, MODULE_NAMES } from './app.module.js';
import { readConfig } from './config.js';
import { migrationHistories } from './infrastructure/migration-histories.js';
import { migrateDatabase } from './infrastructure/persistence/database.js';

/** `npm run migrate`: brings the database that DATABASE_URL names up to date. */
const config = readConfig(process.env, MODULE_NAMES, 'migrate');
const applied = await migrateDatabase(config.databaseUrl, migrationHistories(hostedBy(config)));
console.log(applied.length > 0 ? `Applied:\n- ${applied.join('\n- ')}` : 'Nothing to apply.');
