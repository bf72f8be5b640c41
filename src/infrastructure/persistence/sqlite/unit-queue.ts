import type { JointWork, BatchPrelude, Unit } from '../unit.js';

/** A unit of work that waits for its turn. */
export interface QueuedUnit {
  /** On the clock of `performance.now()`. */
  readonly submitted: number;
  readonly isMessage: boolean;
  readonly closesGroup: boolean;
  /** Present when the unit may share a savepoint and be repeated. */
  readonly prelude?: BatchPrelude<unknown, unknown>;
  readonly item?: unknown;
  readonly joint?: JointWork | undefined;
  run(unit: Unit, result?: unknown): Promise<unknown>;
  resolve(value: unknown): void;
  reject(error: unknown): void;
}

/** Units that wait, in their order: messages before requests, except for one request after so many messages. */
export class UnitQueue {
  private messages: QueuedUnit[] = [];
  private requests: QueuedUnit[] = [];
  private closing: QueuedUnit[] = [];
  private isolated: QueuedUnit[] = [];
  private sinceRequest = 0;

  /**
   * @param messagesPerRequest units of messages that run for each waiting request: about as many as one request causes.
   *   With fewer, a full load of requests is accepted faster than it is settled.
   */
  constructor(private readonly messagesPerRequest: number) {}

  get length(): number {
    return this.messages.length + this.requests.length + this.closing.length + this.isolated.length;
  }

  /** Whether units wait that must be alone in their group. */
  get hasIsolated(): boolean {
    return this.isolated.length > 0;
  }

  add(unit: QueuedUnit): void {
    (unit.closesGroup ? this.closing : unit.isMessage ? this.messages : this.requests).push(unit);
  }

  /** Puts a unit before all others, alone in its group. */
  isolate(unit: QueuedUnit): void {
    this.isolated.push(unit);
  }

  nextIsolated(): QueuedUnit | undefined {
    return this.isolated.shift();
  }

  nextClosing(): QueuedUnit | undefined {
    return this.closing.shift();
  }

  next(): QueuedUnit | undefined {
    const isRequestsTurn = this.messages.length === 0 || this.sinceRequest >= this.messagesPerRequest;
    if (isRequestsTurn && this.requests.length > 0) {
      this.sinceRequest = 0;
      return this.requests.shift();
    }
    this.sinceRequest++;
    return this.messages.shift();
  }

  /** Takes up to `limit` units with the prelude of `unit`, which may share its savepoint. */
  takeSamePrelude({ prelude }: QueuedUnit, limit: number): QueuedUnit[] {
    const isLimited = this.requests.length > 0;
    const most = isLimited ? Math.min(limit, this.messagesPerRequest - this.sinceRequest) : limit;
    if (!prelude || most <= 0) return [];
    const found: QueuedUnit[] = [];
    const isTaken = (it: QueuedUnit) => found.length < most && it.prelude === prelude && found.push(it) > 0;
    this.messages = this.messages.filter((it) => !isTaken(it));
    this.sinceRequest += found.length;
    return found;
  }

  /** Removes the units that match. @returns them */
  remove(matches: (unit: QueuedUnit) => boolean): QueuedUnit[] {
    const removed = [...this.messages, ...this.requests, ...this.closing, ...this.isolated].filter(matches);
    const stays = (unit: QueuedUnit) => !matches(unit);
    this.isolated = this.isolated.filter(stays);
    this.closing = this.closing.filter(stays);
    this.messages = this.messages.filter(stays);
    this.requests = this.requests.filter(stays);
    return removed;
  }
}
