/* The entry `.`: what an application needs to send and receive durable messages. */

export {
  durableCommand,
  durableEvent,
  query,
  Reject,
  type Askers,
  type Attempt,
  type CommandClass,
  type Declaration,
  type DurableCommandClass,
  type DurableCommandHandler,
  type DurableEventClass,
  type DurableEventHandler,
  type DurableMessage,
  type EffectHandler,
  type EffectPolicy,
  type EventClass,
  type MessageClass,
  type MessageOf,
  type ModuleQueryClass,
  type QueryClass,
  type Senders,
} from '../src/infrastructure/contracts/message.js';
export type {
  CausedBy,
  DurableCommandBatchHandler,
  DurableEventBatchHandler,
} from '../src/infrastructure/contracts/batch-handler.js';
export { MeshFeature, type MeshFeatureOptions } from '../src/infrastructure/contracts/mesh-feature.js';
export type { CloudEvent } from '../src/infrastructure/cloudevents/cloud-event.js';
export { DeadLetters } from '../src/infrastructure/dead-letters/dead-letters.js';
export { InboxReceiver } from '../src/infrastructure/delivery/inbox-receiver.js';
export type { DeliveryPolicy } from '../src/infrastructure/contracts/retry-policy.js';
export { UnknownType } from '../src/infrastructure/delivery/unknown-type.js';
export type { Administration } from '../src/infrastructure/http/administration.js';
export {
  ModuleReconciler,
  type Discrepancy,
  type Reconciler,
  type ReconciliationPage,
} from '../src/infrastructure/maintenance/reconciler.js';
export { ModuleRetention, type RowRetention } from '../src/infrastructure/maintenance/row-retention.js';
export type { ExpiredRows } from '../src/infrastructure/store/expired-rows.js';
export { Reconciliation } from '../src/infrastructure/maintenance/reconciliation.js';
export type { BrokerOptions, MeshExtras, MeshOptions, TokenOptions } from '../src/infrastructure/mesh-options.js';
export { MeshModule } from '../src/infrastructure/mesh.module.js';
export { Outbox } from '../src/infrastructure/outbox/outbox.js';
export { Relay } from '../src/infrastructure/outbox/relay.js';
export { insertOnce } from '../src/infrastructure/persistence/insert-once.js';
export { migrateDatabase } from '../src/infrastructure/persistence/database.js';
export type { MigrationHistory } from '../src/infrastructure/persistence/migrate.js';
export {
  DatabaseUnavailable,
  TransactionsOverlap,
  UnitTimedOut,
  type Sql,
} from '../src/infrastructure/persistence/sql.js';
export type { Unit } from '../src/infrastructure/persistence/unit.js';
export { updateReturning } from '../src/infrastructure/persistence/update-returning.js';
export { UnitOfWork } from '../src/infrastructure/persistence/unit-of-work.js';
export { migrationHistories } from '../src/infrastructure/store/migration-histories.js';
