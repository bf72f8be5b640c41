import { setTimeout as wait } from 'node:timers/promises';
import { DatabaseUnavailable } from './sql.js';

/** Nothing is tried while the last write is younger than this, in ms. */
const FRESH_MS = 1000;
/** How long the first question after a failure waits for an attempt, in ms. */
const PATIENCE_MS = 500;

/** Whether the database takes writes: what became of the last unit of work, or of an attempt when that was a while ago. */
export class WriterHealth {
  private failure?: DatabaseUnavailable;
  private lastSuccessAt = -Infinity;
  private attempt?: Promise<void>;

  /** @param damage what makes the database unusable although units of work may still succeed */
  constructor(private readonly damage: () => DatabaseUnavailable | undefined = () => undefined) {}

  /** Takes note of what becomes of a unit of work. */
  async observe<T>(unit: Promise<T>): Promise<T> {
    try {
      const value = await unit;
      this.failure = undefined;
      this.lastSuccessAt = performance.now();
      return value;
    } catch (error) {
      if (error instanceof DatabaseUnavailable) this.failure = error;
      throw error;
    }
  }

  /**
   * @param write a unit of work that writes something
   * @throws DatabaseUnavailable when the database takes no writes
   */
  async assertWritable(write: () => Promise<void>): Promise<void> {
    const damage = this.damage();
    if (damage) throw damage;
    if (!this.failure && performance.now() - this.lastSuccessAt < FRESH_MS) return;
    // One attempt at a time: it may wait for as long as a COMMIT may.
    this.attempt ??= write().finally(() => (this.attempt = undefined));
    const { attempt, failure } = this;
    if (!failure) return attempt;
    await Promise.race([attempt.catch(() => undefined), wait(PATIENCE_MS)]);
    if (this.failure) throw this.failure;
  }
}
