import { setTimeout as wait } from 'node:timers/promises';
import type { Fault } from './fault.js';

/* What happens between processes. */

export const cut: Fault = {
  name: 'cut',
  title: 'connections are cut midway: to users, processes, broker and PostgreSQL',
  hindersStarting: true,
  run: async ({ allLines }, random, ms) => {
    const started = performance.now();
    while (performance.now() - started < ms) {
      for (const line of allLines) line.cutting = random.chance(0.5) ? random.between(0, 0.1) : 0;
      await wait(random.between(200, 1000));
      for (const line of allLines) line.cut(random.next());
    }
    for (const line of allLines) line.cutting = 0;
  },
};

/** A delivery that is over comes back once, as if whoever removed it had died between handling it and saying so. */
const TWICE = {
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
const ONCE = {
  sqlite: ['DROP TRIGGER IF EXISTS faults_twice'],
  postgres: ['DROP TRIGGER IF EXISTS faults_twice ON mesh_delivery'],
};

export const duplicated: Fault = {
  name: 'duplicated',
  title: 'deliveries arrive again, some of them later',
  run: async (stand, _random, ms) => {
    const { combination, couriers, moduleDatabases } = stand;
    if (combination.hasBroker) {
      for (const courier of couriers.values()) courier.doubling = 0.6;
      await wait(ms);
      for (const courier of couriers.values()) courier.doubling = 0;
      return;
    }
    for (const place of moduleDatabases) await stand.insist(place, TWICE[combination.database]);
    await wait(ms);
    for (const place of moduleDatabases) await stand.insist(place, ONCE[combination.database]);
  },
};

export const reordered: Fault = {
  name: 'reordered',
  title: 'deliveries are held back for up to 2 s, so that others overtake them',
  inapplicable: ({ hasBroker }) => (hasBroker ? undefined : 'nothing travels'),
  run: async ({ couriers }, random, ms) => {
    for (const courier of couriers.values()) courier.holding = random.between(0.3, 0.8);
    await wait(ms);
    for (const courier of couriers.values()) courier.holding = 0;
  },
};
