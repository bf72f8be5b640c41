/* The part of the rivals that the benchmark uses: their packages are not installed where TypeScript looks for them. */

declare module 'pg-boss' {
  import type { EventEmitter } from 'node:events';

  export interface Job<Data> {
    readonly id: string;
    readonly data: Data;
  }

  /** Runs the statements of a call in the transaction of the caller. */
  interface Db {
    executeSql(text: string, values?: unknown[]): Promise<{ rows: unknown[] }>;
  }

  export class PgBoss extends EventEmitter {
    constructor(options: { connectionString: string; max: number; supervise: boolean; schedule: boolean });
    start(): Promise<this>;
    createQueue(name: string): Promise<void>;
    insert(name: string, jobs: readonly { data: object }[]): Promise<unknown>;
    work<Data>(
      name: string,
      options: { batchSize: number; localConcurrency: number; burstWhenBatchFull: boolean },
      handler: (jobs: readonly Job<Data>[]) => Promise<unknown>,
    ): Promise<string>;
    fetch<Data>(name: string, options: { batchSize: number; db: Db }): Promise<Job<Data>[]>;
    complete(name: string, ids: readonly string[], output: undefined, options: { db: Db }): Promise<unknown>;
    stop(options: { graceful: boolean }): Promise<void>;
  }
}

declare module 'graphile-worker' {
  export class Logger {
    constructor(logFactory: () => () => void);
  }

  interface Options {
    readonly logger: Logger;
    readonly noHandleSignals?: boolean;
    readonly preset: { readonly worker: Readonly<Record<string, unknown>> };
    readonly taskList?: Readonly<Record<string, Task>>;
  }

  type Task = (payload: unknown, helpers: { job: { id: string } }) => Promise<void>;

  export function runMigrations(options: Options): Promise<void>;
  export function run(options: Options): Promise<{ stop(): Promise<void> }>;
}

declare module 'plainjob' {
  import type { Database } from 'better-sqlite3';

  interface Job {
    readonly id: number;
    readonly data: string;
  }

  interface Queue {
    add(type: string, data: unknown): { id: number };
    getAndMarkJobAsProcessing(type: string): { id: number } | undefined;
    getJobById(id: number): Job | undefined;
    markJobAsDone(id: number): void;
    close(): void;
  }

  type Logger = Record<'error' | 'warn' | 'info' | 'debug', (message: string, ...meta: unknown[]) => void>;

  export function better(database: Database): object;
  export function defineQueue(options: { connection: object; logger: Logger }): Queue;
  export function defineWorker(
    type: string,
    processor: (job: Job) => Promise<void>,
    options: { queue: Queue; logger: Logger; onCompleted: () => void },
  ): { start(): Promise<void>; stop(): Promise<void> };
}
