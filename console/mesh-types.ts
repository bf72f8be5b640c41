/* The answers of the server. */

export interface Session {
  readonly role: 'administrator' | 'reader';
  readonly isDevelopment: boolean;
  readonly needsToken: boolean;
  readonly consumers: readonly string[];
  readonly actions: readonly { readonly name: string; readonly label: string }[];
}

export type MessageKind = 'command' | 'event' | 'query';

export interface Message {
  readonly type: string;
  readonly name: string;
  readonly kind: MessageKind;
  readonly owner: string;
  /** Module names, or URLs of other systems. */
  readonly senders: readonly string[];
  readonly consumers: readonly string[];
  /** The classes that handle or answer it. */
  readonly handlers: readonly { readonly module: string; readonly name: string }[];
  readonly schema: object;
  readonly example: unknown;
}

export interface Topology {
  readonly application: string;
  readonly broker: string | null;
  readonly modules: readonly { readonly name: string; readonly isHosted: boolean }[];
  readonly messages: readonly Message[];
}

export interface OutboxState {
  readonly pending: number;
  readonly ready: number;
  readonly retrying: number;
  readonly deadLetters: number;
  readonly lagMs: number;
  readonly consumers: Readonly<Record<string, number>>;
}

/** Attempts to publish that failed in a row. */
interface BrokerFailure {
  readonly reason: string;
}

export interface BrokerState {
  readonly refused?: BrokerFailure;
  readonly unreachable?: BrokerFailure;
  /** Requests that the broker hasn't answered for a while. */
  readonly waiting?: { readonly requests: number };
}

export interface ConsumerSecond {
  readonly name: string;
  readonly handled: number;
  readonly failed: number;
  readonly p50Ms: number | null;
  readonly p99Ms: number | null;
}

export interface Sample {
  readonly id: string;
  readonly type: string;
  readonly subject: string | null;
  readonly sender: string;
  readonly consumer: string;
  readonly outcome: string;
}

/** One second of one process. */
export interface ProcessState {
  readonly at: string;
  readonly process: {
    readonly id: string;
    readonly pid: number;
    readonly application: string;
    readonly modules: readonly string[];
    readonly startedAt: string;
    readonly versions: { readonly node: string; readonly application?: string };
  };
  readonly transport: string;
  readonly database: string;
  readonly broker?: BrokerState;
  /** Absent while the database can't be read. */
  readonly outbox?: OutboxState;
  /** Empty on SQLite. */
  readonly replicas: readonly { readonly id: string; readonly resource: string; readonly shards: number }[];
  readonly consumers: readonly ConsumerSecond[];
  readonly edges: readonly {
    readonly type: string;
    readonly sender: string;
    readonly consumer: string;
    readonly count: number;
    readonly failed: number;
  }[];
  readonly queries: readonly {
    readonly type: string;
    readonly module: string;
    readonly count: number;
    readonly failed: number;
  }[];
  readonly samples: readonly Sample[];
}

/** A message at one consumer, as the journal keeps it. */
export interface Entry {
  readonly id: string;
  readonly source: string;
  readonly type: string;
  readonly subject: string | null;
  readonly consumer: string;
  readonly causationId: string | null;
  readonly correlationId: string;
  readonly createdAt: string;
  readonly handledAt: string;
  /** 0 where a broker makes the attempts. */
  readonly attempts: number;
  readonly outcome: 'handled' | 'performed' | 'dead';
}

export interface Cause {
  readonly consumer: string;
  readonly type: string;
  readonly cause: string;
  readonly count: number;
  readonly firstAt: string;
  readonly lastAt: string;
}

export interface DeadLetter {
  readonly id: string;
  readonly consumer: string;
  readonly type: string;
  readonly subject: string | null;
  readonly attempts: number;
  readonly cause: string;
  readonly error: string;
  readonly deadAt: string;
  readonly destination?: string;
}

export interface ReplayReport {
  readonly replayed: number;
  readonly skipped: readonly { readonly reason: string; readonly count: number; readonly ids: readonly string[] }[];
}

export interface ReconciliationRun {
  readonly module: string;
  readonly isDryRun: boolean;
  readonly isFull?: boolean;
  readonly isRunning: boolean;
  readonly startedAt: string;
  readonly finishedAt?: string;
  readonly examined: number;
  readonly skipped: number;
  readonly missing: Readonly<Record<string, number>>;
  readonly sent: number;
  readonly interrupted?: string;
}
