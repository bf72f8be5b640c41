import 'reflect-metadata';
import { MODULES } from './app.module.js';
import { readConfig } from './config.js';
import { migrationHistories } from './infrastructure/mesh.module.js';
import { migrateDatabase } from './infrastructure/persistence/database.js';

/** `npm run migrate`: brings the database that DATABASE_URL names up to date. */
const { databaseUrl } = readConfig(process.env);
const applied = await migrateDatabase(databaseUrl, migrationHistories(MODULES));
console.log(applied.length > 0 ? `Applied:\n- ${applied.join('\n- ')}` : 'Nothing to apply.');
