import { setTimeout as wait } from 'node:timers/promises';
import type { Fault } from './fault.js';

/* Faults of connections. */

export const cut: Fault = {
  name: 'cut',
  title: 'connections of users, processes, broker and PostgreSQL are cut in the middle of a message',
  hindersStart: true,
  run: async ({ allProxies }, random, ms) => {
    const started = performance.now();
    while (performance.now() - started < ms) {
      for (const proxy of allProxies) proxy.cutProbability = random.chance(0.5) ? random.between(0, 0.1) : 0;
      await wait(random.between(200, 1000));
      for (const proxy of allProxies) proxy.cutConnections(random.next());
    }
    for (const proxy of allProxies) proxy.cutProbability = 0;
  },
};

/** Inserts each deleted delivery once more, as if the process had died between the handler and the deletion. */
const REDELIVER_ONCE = {
  sqlite: [
    'CREATE TABLE IF NOT EXISTS faults_delivered (id text, consumer text, PRIMARY KEY (id, consumer))',
    `CREATE TRIGGER IF NOT EXISTS faults_twice AFTER DELETE ON mesh_delivery
     WHEN NOT EXISTS (SELECT 1 FROM faults_delivered WHERE id = OLD.id AND consumer = OLD.consumer)
     BEGIN
       INSERT INTO faults_delivered VALUES (OLD.id, OLD.consumer);
       INSERT INTO mesh_delivery (consumer, id, type, partition_key, event, created_at, due_at)
       VALUES (OLD.consumer, OLD.id, OLD.type, OLD.partition_key, OLD.event, OLD.created_at, OLD.due_at);
     END`,
  ],
  postgres: [
    'CREATE TABLE IF NOT EXISTS faults_delivered (id text, consumer text, PRIMARY KEY (id, consumer))',
    `CREATE OR REPLACE FUNCTION faults_again() RETURNS trigger LANGUAGE plpgsql AS $$
     BEGIN
       INSERT INTO faults_delivered VALUES (OLD.id, OLD.consumer) ON CONFLICT DO NOTHING;
       IF FOUND THEN
         INSERT INTO mesh_delivery (consumer, id, type, partition_key, event, created_at, due_at)
         VALUES (OLD.consumer, OLD.id, OLD.type, OLD.partition_key, OLD.event, OLD.created_at, OLD.due_at);
       END IF;
       RETURN OLD;
     END $$`,
    `CREATE OR REPLACE TRIGGER faults_twice AFTER DELETE ON mesh_delivery
     FOR EACH ROW EXECUTE FUNCTION faults_again()`,
  ],
};
const STOP_REDELIVERING = {
  sqlite: ['DROP TRIGGER IF EXISTS faults_twice'],
  postgres: ['DROP TRIGGER IF EXISTS faults_twice ON mesh_delivery'],
};

export const duplicated: Fault = {
  name: 'duplicated',
  title: 'deliveries arrive twice, up to 3 s later',
  run: async (testBed, _random, ms) => {
    const { combination, deliveryProxies, moduleDatabases } = testBed;
    if (combination.hasBroker) {
      for (const proxy of deliveryProxies.values()) proxy.duplicateProbability = 0.6;
      await wait(ms);
      for (const proxy of deliveryProxies.values()) proxy.duplicateProbability = 0;
      return;
    }
    for (const database of moduleDatabases) await testBed.execute(database, REDELIVER_ONCE[combination.database]);
    await wait(ms);
    for (const database of moduleDatabases) await testBed.execute(database, STOP_REDELIVERING[combination.database]);
  },
};

export const reordered: Fault = {
  name: 'reordered',
  title: 'deliveries are delayed by up to 2 s, so that later ones overtake them',
  inapplicable: ({ hasBroker }) => (hasBroker ? undefined : 'this combination has no broker'),
  run: async ({ deliveryProxies }, random, ms) => {
    for (const proxy of deliveryProxies.values()) proxy.delayProbability = random.between(0.3, 0.8);
    await wait(ms);
    for (const proxy of deliveryProxies.values()) proxy.delayProbability = 0;
  },
};
