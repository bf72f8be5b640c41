import type { Type } from '@nestjs/common';
import type { DeliveryPolicy } from './contracts/retry-policy.js';
import type { Sender } from './broker/senders.js';
import type { ConsoleOptions } from './console/console-options.js';
import type { Administration } from './http/administration.js';
import type { ListenerOptions } from './http/mesh-listener.js';
import type { ReconciliationPolicy } from './maintenance/reconciliation.js';
import type { DatabaseLocation } from './persistence/host-data-source.js';
import type { MigrationHistory } from './persistence/migrate.js';
import type { RetentionPolicy } from './store/expired-rows.js';

export interface MeshOptions {
  /** The application's name in sources and schemas: `usvc://<application>/<module>`. */
  readonly application: string;
  /** All modules of the application, each with `@MeshFeature`. */
  readonly modules: readonly Type[];
  /** The modules that this process hosts; all by default. */
  readonly hosted?: readonly Type[];
  /** A broker between the modules, which may then run in several processes. Without it all messages stay in this one. */
  readonly broker?: BrokerOptions;
  /**
   * `sqlite:<path>`, `postgres://…`, the options of a data source, or the data source of the application. The repositories of
   * that data source then take part in units of work. The mesh opens connections of its own in any case.
   */
  readonly database: DatabaseLocation;
  /** The migrations of the modules' tables. A process applies those of the modules that it hosts. */
  readonly migrations?: readonly MigrationHistory[];
  /** Apply missing migrations at start; by default a missing migration stops the start. */
  readonly migrate?: boolean;
  readonly delivery?: Partial<DeliveryPolicy>;
  readonly retention?: Partial<RetentionPolicy>;
  readonly reconciliation?: Partial<ReconciliationPolicy>;
  readonly administration?: Administration;
  /** The console at /mesh/console: `meshConsole()` of the entry `./console`. It is loaded when a browser asks for it. */
  readonly console?: ConsoleOptions;
  /**
   * The tokens that requests to the application's controllers must carry; without this any client may use them. Needs
   * `http: 'whole'`.
   */
  readonly restTokens?: Pick<TokenOptions, 'issuer' | 'audience'>;
  /**
   * A port of its own for brokers, queries of other processes and administration. Without it these routes share the port of
   * the application. `/health` is on both.
   */
  readonly listener?: ListenerOptions;
  /**
   * Units of messages that run on SQLite for each waiting request, under load: about as many as a request causes messages;
   * 12 by default.
   */
  readonly messagesPerRequest?: number;
  /**
   * Requests that may wait for an outcome (`Prefer: wait`) at a time; 20 by default. A fifth of the requests that a proxy
   * lets through at a time: the others are for deliveries, without which nothing comes to an outcome.
   */
  readonly maxWaiters?: number;
  /**
   * How long a process that is told to stop still accepts connections, in ms, while readiness is false: until proxies have
   * noticed; 0 by default.
   */
  readonly shutdownDelayMs?: number;
  /** How long a shutdown may take to deliver what is ready, in ms; 20 s by default. */
  readonly shutdownGraceMs?: number;
  /**
   * Whether processes on one PostgreSQL wake each other by LISTEN/NOTIFY; true by default. Some poolers don't support it.
   * Processes also poll every second.
   */
  readonly notify?: boolean;
}

/** How to work with a Knative Broker. */
export interface BrokerOptions {
  /** Address to publish to (`K_SINK`); absent in a process that publishes nothing. */
  readonly sink?: string;
  /**
   * How long the broker may take to answer, in ms. By default as long as all attempts of a consumer and of the dead letter
   * sink may take under `delivery`: a synchronous broker answers after them.
   */
  readonly publishTimeoutMs?: number;
  /** Extensions that every published event gets. */
  readonly extensions?: Readonly<Record<string, string>>;
  /** Certificates (PEM) to trust besides the well-known ones. */
  readonly caCerts?: string;
  /** File with the token that is sent to the broker. */
  readonly tokenFile?: string;
  /** File with the token that is sent with queries to other processes. */
  readonly queryTokenFile?: string;
  /** The tokens that deliveries and queries must carry; without this any sender may deliver and ask. */
  readonly tokens?: TokenOptions;
  /** Base URLs of the modules that other processes host. */
  readonly services?: Readonly<Record<string, string>>;
  /** Whether the broker may also deliver to `POST /`, for all modules of the process; false by default. */
  readonly atRoot?: boolean;
}

/** Which tokens of an OIDC issuer the mesh accepts, and from which senders. */
export interface TokenOptions {
  /** The `iss` of the tokens, exactly as the issuer writes it. */
  readonly issuer: string;
  /** Tokens must have it among their audiences (`aud`). */
  readonly audience: string;
  readonly jwksUrl?: string;
  /** File with the bearer token for fetching the issuer's JWKS, as Kubernetes demands it. */
  readonly credentialsFile?: string;
  /** The identities that may deliver: those of the broker, and of a process that requeues dead letters. */
  readonly senders: readonly Sender[];
  /** The subjects (`sub`) that ask for each module; no other subject may ask. */
  readonly callers?: Readonly<Record<string, readonly string[]>>;
}

/** Options that decide which providers and controllers exist, so that `forRootAsync()` takes them beside the factory. */
export interface MeshExtras {
  /**
   * `whole` (the default): problem documents, `Idempotency-Key` and /health for all controllers, together with
   * `configureHttp()`. `administration`: only the routes below /mesh; other routes stay as they are.
   */
  readonly http?: 'whole' | 'administration';
}

/** The injection token of `MeshOptions`. */
export const MESH_OPTIONS = Symbol('MESH_OPTIONS');
