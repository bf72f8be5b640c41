import { createHash } from 'node:crypto';
import { Injectable, SetMetadata, type CallHandler, type ExecutionContext, type NestInterceptor } from '@nestjs/common';
import { ModuleRef, Reflector } from '@nestjs/core';
import type { Request, Response } from 'express';
import { from, lastValueFrom, type Observable } from 'rxjs';
import { Conflict, ValidationFailed, BusinessRuleViolation } from '../contracts/domain-errors.js';
import { UnitOfWork, withTransactionHook, type TransactionHook } from '../persistence/unit-of-work.js';
import { findReply, insertKey, storeReply, type StoredReply } from '../store/idempotency-rows.js';
import { preferredWaitMs } from './prefer.js';
import { senderOf } from './rest-tokens.guard.js';

/** Metadata key of a route that may be repeated. */
export const IDEMPOTENT = 'mesh:idempotent';

/** Answers a repeated request whose client waits for the outcome: `(first reply, value of Prefer, response)`. */
export type PresentState = (reply: never, prefer: string | undefined, response: Response) => Promise<unknown>;

/**
 * Lets a client repeat a POST: requests with the same `Idempotency-Key` have one effect, and all get the first reply. The
 * key is kept for 24 h, in the unit of work of the request; the result of that unit must be the body of the reply. It
 * belongs to the verified subject of the token, or else to the value of `Authorization`: another sender may use the same key.
 * @param onRepeat name of the method of the controller, a `PresentState`, that answers a repeat with `Prefer: wait`
 */
export const Idempotent = (onRepeat?: string) => SetMetadata(IDEMPOTENT, { onRepeat });

@Injectable()
export class IdempotencyInterceptor implements NestInterceptor {
  private readonly inFlight = new Set<string>();

  constructor(
    private readonly reflector: Reflector,
    private readonly work: UnitOfWork,
    private readonly modules: ModuleRef,
  ) {}

  intercept(context: ExecutionContext, next: CallHandler): Observable<unknown> {
    const request = context.switchToHttp().getRequest<Request>();
    const key = request.get('idempotency-key');
    const options = this.reflector.get<{ onRepeat?: string } | undefined>(IDEMPOTENT, context.getHandler());
    if (key === undefined || !options) return next.handle();
    if (!/^[\x21-\x7e]{1,255}$/.test(key)) {
      throw new ValidationFailed([{ field: 'Idempotency-Key', detail: 'expected 1 to 255 visible ASCII characters' }]);
    }
    const repeat = (reply: unknown) => {
      const prefer = request.get('prefer');
      if (!options.onRepeat || preferredWaitMs(prefer) === 0) return reply;
      const controller = this.modules.get<Record<string, PresentState>>(context.getClass(), { strict: false });
      return controller[options.onRepeat]!(reply as never, prefer, context.switchToHttp().getResponse<Response>());
    };
    const handle = () => lastValueFrom(next.handle());
    return from(this.once(scopeOf(request) + key, fingerprintOf(request), handle, repeat));
  }

  private async once(
    key: string,
    fingerprint: string,
    handle: () => Promise<unknown>,
    repeat: (reply: unknown) => unknown,
  ): Promise<unknown> {
    if (this.inFlight.has(key)) throw inProgress();
    this.inFlight.add(key);
    try {
      const stored = await findReply(this.work.sql, key);
      if (stored) return await repeat(replyOf(stored, fingerprint));
      return await withTransactionHook(storeWithUnit(key, fingerprint), handle);
    } finally {
      this.inFlight.delete(key);
    }
  }
}

/** Stores the key with the first unit of work of the request, and the result of that unit as the reply. */
function storeWithUnit(key: string, fingerprint: string): TransactionHook {
  return {
    before: async (sql) => {
      // Another process has committed this key since findReply(). The next attempt gets its reply.
      if (!(await insertKey(sql, key, fingerprint))) throw inProgress();
    },
    after: (sql, result) => storeReply(sql, key, result),
  };
}

/**
 * What separates the keys of different senders. A new token of a verified subject keeps its keys. Senders without
 * `Authorization` share their keys: the address of a client changes, and many clients share one behind a proxy.
 */
function scopeOf(request: Request): string {
  const identity = senderOf(request) ?? request.get('authorization');
  // No key of a client has a space, so that none can name the key of another sender.
  return identity ? `${createHash('sha256').update(identity).digest('base64url')} ` : '';
}

function inProgress(): Conflict {
  return new Conflict('A request with this key is in progress: repeat it later', 'Idempotency-Key');
}

function replyOf(stored: StoredReply, fingerprint: string): unknown {
  if (stored.fingerprint !== fingerprint) {
    throw new BusinessRuleViolation('This key was used for another request: send a new key', 'Idempotency-Key');
  }
  return JSON.parse(stored.reply) as unknown;
}

/** A digest of the request that doesn't depend on the order of fields. */
function fingerprintOf(request: Request): string {
  const body = JSON.stringify(request.body, (_, value: unknown) =>
    value !== null && typeof value === 'object' && !Array.isArray(value)
      ? Object.fromEntries(Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1)))
      : value,
  );
  return createHash('sha256').update(`${request.method} ${request.path}\n${body}`).digest('hex');
}
