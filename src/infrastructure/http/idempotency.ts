import { createHash } from 'node:crypto';
import { Injectable, SetMetadata, type CallHandler, type ExecutionContext, type NestInterceptor } from '@nestjs/common';
import { Reflector } from '@nestjs/core';
import type { Request } from 'express';
import { from, lastValueFrom, type Observable } from 'rxjs';
import { Conflict, ValidationFailed, BusinessRuleViolation } from '../contracts/domain-errors.js';
import type { Sql } from '../persistence/sql.js';
import { withTransactionHook, UnitOfWork } from '../persistence/unit-of-work.js';

const IDEMPOTENT = 'mesh:idempotent';

/**
 * Lets a client repeat a POST: with the same `Idempotency-Key` it happens once, and the reply is the first one's. The
 * key is kept for 24 h, in the unit of work of the request; the result of that unit has to be the body of the reply.
 */
export const Idempotent = () => SetMetadata(IDEMPOTENT, true);

interface StoredReply {
  readonly fingerprint: string;
  readonly reply: string;
}

@Injectable()
export class IdempotencyInterceptor implements NestInterceptor {
  private readonly inFlight = new Set<string>();

  constructor(
    private readonly reflector: Reflector,
    private readonly work: UnitOfWork,
  ) {}

  intercept(context: ExecutionContext, next: CallHandler): Observable<unknown> {
    const request = context.switchToHttp().getRequest<Request>();
    const key = request.get('idempotency-key');
    if (key === undefined || !this.reflector.get(IDEMPOTENT, context.getHandler())) return next.handle();
    if (!/^[\x21-\x7e]{1,255}$/.test(key)) {
      throw new ValidationFailed([{ field: 'Idempotency-Key', detail: 'expected 1 to 255 visible ASCII characters' }]);
    }
    return from(this.once(key, fingerprintOf(request), () => lastValueFrom(next.handle())));
  }

  private async once(key: string, fingerprint: string, handle: () => Promise<unknown>): Promise<unknown> {
    if (this.inFlight.has(key)) throw new Conflict('A request with this key is under way', 'Idempotency-Key');
    this.inFlight.add(key);
    try {
      const kept = await this.find(key);
      if (kept) return replyOf(kept, fingerprint);
      return await withTransactionHook(keep(key, fingerprint), handle);
    } finally {
      this.inFlight.delete(key);
    }
  }

  private async find(key: string): Promise<StoredReply | undefined> {
    const [kept] = await this.work.sql.all<StoredReply>(
      `SELECT fingerprint, reply FROM mesh_idempotency_key WHERE idempotency_key = $1`,
      [key],
    );
    return kept;
  }
}

/** Keeps the key with the first unit of work of the request, and the unit's result as the reply. */
function keep(key: string, fingerprint: string) {
  return {
    before: async (sql: Sql) => {
      const isNew = await sql.run(
        `INSERT INTO mesh_idempotency_key (idempotency_key, fingerprint, reply, created_at) VALUES ($1, $2, '', $3)
         ON CONFLICT DO NOTHING`,
        [key, fingerprint, Date.now()],
      );
      // Another process had the key under way and has just committed.
      if (!isNew) throw new Conflict('A request with this key is under way', 'Idempotency-Key');
    },
    after: async (sql: Sql, result: unknown) => {
      await sql.run(`UPDATE mesh_idempotency_key SET reply = $2 WHERE idempotency_key = $1`, [
        key,
        JSON.stringify(result ?? null),
      ]);
    },
  };
}

function replyOf(kept: StoredReply, fingerprint: string): unknown {
  if (kept.fingerprint !== fingerprint) {
    throw new BusinessRuleViolation('This key was used for another request', 'Idempotency-Key');
  }
  return JSON.parse(kept.reply) as unknown;
}

/** The same for the same request, whatever the order of its fields. */
function fingerprintOf(request: Request): string {
  const body = JSON.stringify(request.body, (_, value: unknown) =>
    value !== null && typeof value === 'object' && !Array.isArray(value)
      ? Object.fromEntries(Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1)))
      : value,
  );
  return createHash('sha256').update(`${request.method} ${request.path}\n${body}`).digest('hex');
}
