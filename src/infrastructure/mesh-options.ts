import type { Type } from '@nestjs/common';
import type { DataSourceOptions } from 'typeorm';
import type { MigrationHistory } from './persistence/migrate.js';
import type { Administration } from './dead-letters/dead-letters.controller.js';
import type { ReconciliationPolicy } from './maintenance/reconciliation.js';
import type { RetentionPolicy } from './maintenance/retention.js';
import type { DeliveryPolicy } from './delivery/retry-policy.js';

export interface MeshOptions {
  /** The application's name, in the sources and schemas of its messages: `usvc://<application>/<module>`. */
  readonly application: string;
  /** All modules there are, each with `@MeshFeature`. */
  readonly modules: readonly Type[];
  /** Those of them that live in this process; all unless told. */
  readonly hosted?: readonly Type[];
  /** A broker between the modules, which may then live in several processes. Without it messages stay in this one. */
  readonly broker?: BrokerOptions;
  /** `sqlite:<path>`, `postgres://…`, or the options of a data source that the application has already. */
  readonly database: string | DataSourceOptions;
  /** The migrations of the modules' tables. A process applies those of the modules that it hosts. */
  readonly migrations?: readonly MigrationHistory[];
  /** Whether to apply missing migrations at start. By default, a missing migration stops the start. */
  readonly migrate?: boolean;
  readonly delivery?: Partial<DeliveryPolicy>;
  readonly retention?: Partial<RetentionPolicy>;
  readonly reconciliation?: Partial<ReconciliationPolicy>;
  readonly administration?: Administration;
  /**
   * `whole` (unless told): problem documents, `Idempotency-Key` and /health for all controllers, together with
   * `configureHttp()`. `administration`: /mesh alone; what every other route replies is left as it was.
   */
  readonly http?: 'whole' | 'administration';
  /** How long a shutdown may take to deliver what is ready, in ms. */
  readonly shutdownGraceMs?: number;
  /**
   * Whether processes on one PostgreSQL wake each other by LISTEN/NOTIFY; yes unless told, as a pooler between them and the
   * database may not let it through. They poll every second anyway.
   */
  readonly notify?: boolean;
}

/** How to get along with a Knative Broker. */
export interface BrokerOptions {
  /** Where messages are published; absent in a process that publishes nothing. */
  readonly sink?: string;
  /** Extensions that every event gets on its way out. */
  readonly extensions?: Readonly<Record<string, string>>;
  /** Certificates (PEM) to trust besides the well-known ones. */
  readonly caCerts?: string;
  /** The token that is sent to the broker. */
  readonly tokenFile?: string;
  /** Whose tokens those who deliver have to show; without it everybody may. */
  readonly tokens?: {
    readonly issuer: string;
    readonly audience: string;
    readonly jwksUrl?: string;
    /** The token that the issuer wants to see before it tells its keys, as Kubernetes does. */
    readonly credentialsFile?: string;
  };
  /** Base URLs of the modules that live elsewhere. */
  readonly services?: Readonly<Record<string, string>>;
  /** Whether `POST /` is taken as well, for all modules of the process; not unless told, as it may be somebody's. */
  readonly atRoot?: boolean;
}
