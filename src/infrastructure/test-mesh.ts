import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import type { INestApplicationContext } from '@nestjs/common';
import type { Subscription } from './contracts/find-handlers.js';
import { HandlerRegistry } from './contracts/handler-registry.js';
import type { DurableMessage, MessageClass } from './contracts/message.js';
import type { ListedDeadLetter } from './dead-letters/dead-letter.js';
import { DeadLetters } from './dead-letters/dead-letters.js';
import { Retention } from './maintenance/retention.js';
import { requestContext, type RequestContext } from './observability/request-context.js';
import { Outbox } from './outbox/outbox.js';
import { Relay } from './outbox/relay.js';
import { UnitOfWork } from './persistence/unit-of-work.js';
import { makeDueAt, passTime, undelivered } from './store/elapsed-time.js';
import { outboxStatistics } from './store/statistics.js';

/** How long `settled()` waits, in ms. */
const PATIENCE_MS = 5000;
const POLL_MS = 5;
const MEMORY = '/dev/shm';
/** Dead letters that `deadLetters()` returns, at most. */
const MAX_DEAD_LETTERS = 1000;

/** Which handlers fail, how often, and with what. */
export interface Failure {
  /** Attempts that fail, each of one message; all by default. Messages that are handled together fail together, and then alone. */
  readonly times?: number;
  readonly error?: Error;
  /** The module whose handler fails; every module by default. */
  readonly module?: string;
}

interface PlannedFailure {
  readonly type: string;
  readonly failure: Failure;
  left: number;
}

/** Messages of one class. */
type Messages<Class> = Class extends new (...args: never[]) => infer Message ? Message[] : never;

/**
 * The mesh of an application under test. Outbox, inbox, retries and dead letters are the real ones, on a real database; only
 * waits are skipped.
 *
 *     const mesh = TestMesh.of(app);            // after app.init()
 *     mesh.fail(ShipOrder, { times: 2 });
 *     await mesh.publish(new OrderPlaced('1', { … }));
 *     await mesh.settled();
 *     expect(mesh.handled(ShipOrder)).toHaveLength(1);
 */
export class TestMesh {
  private readonly done: { readonly message: DurableMessage; readonly module: string }[] = [];
  private readonly failures: PlannedFailure[] = [];
  /** An attempt whose unit is repeated, because it shared a transaction, fails again and counts once. */
  private readonly failedAttempts = new WeakMap<RequestContext, PlannedFailure>();

  private constructor(private readonly app: INestApplicationContext) {
    const registry = app.get(HandlerRegistry);
    for (const type of registry.handledTypes()) for (const it of registry.subscriptions(type)) this.watch(it);
  }

  /** @param app after `init()`; call this once for each application */
  static of(app: INestApplicationContext): TestMesh {
    return new TestMesh(app);
  }

  /** Sends messages in one transaction of their own, each as the module that may send it. */
  async publish(...messages: readonly DurableMessage[]): Promise<void> {
    const outbox = this.app.get(Outbox);
    await this.work.run(async () => messages.forEach((it) => outbox.add(it)));
  }

  /**
   * Resolves when every message is handled or a dead letter, effects included. Waits between attempts are skipped.
   * @throws Error that names what is left after `timeoutMs`
   */
  async settled({ timeoutMs = PATIENCE_MS }: { timeoutMs?: number } = {}): Promise<void> {
    const deadline = performance.now() + timeoutMs;
    for (;;) {
      const { pending, retrying } = await outboxStatistics(this.work.sql);
      // The database knows of a commit before the code that waits for it.
      if (pending === 0) return this.app.get(Relay).idle(deadline);
      if (performance.now() > deadline) throw new Error(await this.describePending());
      if (retrying > 0) await this.skipWaits();
      await wait(POLL_MS);
    }
  }

  /** The messages of a class that handlers have handled since the beginning, in the order of their commits. */
  handled<Class extends MessageClass>(message: Class, { module }: { module?: string } = {}): Messages<Class> {
    const found = this.done.filter((it) => it.message instanceof message && (!module || it.module === module));
    return found.map((it) => it.message) as Messages<Class>;
  }

  /** The latest first. */
  deadLetters(): Promise<ListedDeadLetter[]> {
    return this.app.get(DeadLetters).list({}, { limit: MAX_DEAD_LETTERS, offset: 0 });
  }

  /** Lets handlers of a message fail after they did their work, which is rolled back. Effects fail before it. */
  fail(message: MessageClass, failure: Failure = {}): void {
    this.failures.push({ type: message.type, failure, left: failure.times ?? Infinity });
  }

  /** Ends all failures of `fail()`. */
  recover(): void {
    this.failures.splice(0);
  }

  /** Lets time pass for the mesh: retries become due, retention and replay windows end. The clock of the process stands still. */
  async advance(ms: number): Promise<void> {
    await this.work.run(() => passTime(this.work.sql, ms));
    this.app.get(Relay).lookAgain();
    await this.app.get(Retention).sweep();
  }

  private get work(): UnitOfWork {
    return this.app.get(UnitOfWork);
  }

  private watch({ handler, effect, consumer: module, message: { type } }: Subscription): void {
    if (handler) {
      // A class with both is done when its effect is.
      const handled = (message: DurableMessage) =>
        !effect && this.work.unit.afterCommit(() => this.done.push({ message, module }));
      const handle = handler.handle.bind(handler);
      const handleMany = handler.handleMany?.bind(handler);
      handler.handle = async (message, prepared) => {
        await handle(message, prepared);
        this.failIfAsked(type, module);
        handled(message);
      };
      if (handleMany) {
        handler.handleMany = async (messages, causedBy, prepared) => {
          await handleMany(messages, causedBy, prepared);
          // Doesn't count: each message is handled again by itself, in the same attempt.
          const failure = this.failureOf(type, module);
          if (failure) throw errorOf(failure, module);
          messages.forEach(handled);
        };
      }
    }
    if (effect) {
      const perform = effect.perform.bind(effect);
      effect.perform = async (message, attempt) => {
        this.failIfAsked(type, module);
        await perform(message, attempt);
        this.done.push({ message: message as DurableMessage, module });
      };
    }
  }

  private failIfAsked(type: string, module: string): void {
    const attempt = requestContext()!;
    const known = this.failedAttempts.get(attempt);
    const found = known ?? this.failureOf(type, module);
    if (!found) return;
    if (!known) found.left--;
    this.failedAttempts.set(attempt, found);
    throw errorOf(found, module);
  }

  private failureOf(type: string, module: string): PlannedFailure | undefined {
    return this.failures.find((it) => it.left > 0 && it.type === type && (it.failure.module ?? module) === module);
  }

  private async skipWaits(): Promise<void> {
    await this.work.run(() => makeDueAt(this.work.sql, Date.now()));
    // Also for rows of earlier calls, whose attempts hadn't quite ended.
    this.app.get(Relay).lookAgain();
  }

  private async describePending(): Promise<string> {
    const rows = await undelivered(this.work.sql);
    const lines = rows.map(({ consumer, type, attempts, error }) =>
      [`${type} for ${consumer}`, attempts > 0 && `attempts ${attempts}`, error].filter(Boolean).join(', '),
    );
    return `The mesh has not settled:\n- ${lines.join('\n- ') || 'messages in the outbox'}`;
  }
}

function errorOf({ failure }: PlannedFailure, module: string): Error {
  return failure.error ?? new Error(`The test lets ${module} fail`);
}

/**
 * A new SQLite database for one test, in memory where the system has a file system for that (/dev/shm). SQLite's own
 * `:memory:` can't be opened twice, and the mesh reads and writes on connections of their own.
 */
export function temporaryDatabase(): { readonly path: string; readonly url: string; remove(): void } {
  const folder = mkdtempSync(join(existsSync(MEMORY) ? MEMORY : tmpdir(), 'mesh-test-'));
  const path = join(folder, 'mesh.db');
  return { path, url: `sqlite:${path}`, remove: () => rmSync(folder, { recursive: true, force: true }) };
}
