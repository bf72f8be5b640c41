import { Injectable } from '@nestjs/common';
import type { z } from 'zod';
import { NotFound } from '../contracts/domain-errors.js';
import { uuidParameter } from '../contracts/schemas.js';
import { AdministrationGuard } from '../http/administration.js';
import { meshRoute, type MeshRoute } from '../http/mesh-route.js';
import { listing, replaying, replayingAll } from './dead-letter-parameters.js';
import { DeadLetters } from './dead-letters.js';
import type { ReplayReport } from './replay-report.js';

@Injectable()
export class DeadLettersRoutes {
  readonly routes: readonly MeshRoute[];

  constructor(
    private readonly deadLetters: DeadLetters,
    guard: AdministrationGuard,
  ) {
    const ofOne = { guard, params: uuidParameter };
    this.routes = [
      meshRoute({
        method: 'GET',
        path: '/mesh/dead-letters',
        summary:
          'Messages that failed for good, the latest first; ?by=cause counts the latest 10000. A total of 10000 means at least so many',
        guard,
        query: listing,
        handle: ({ query }) => this.list(query),
      }),
      meshRoute({
        method: 'POST',
        path: '/mesh/dead-letters/replay',
        summary:
          'Requeues all dead letters that match, each to the consumer that failed; tells which it skipped, and why',
        guard,
        query: replayingAll,
        status: 202,
        handle: ({ query }) => this.replayAll(query),
      }),
      meshRoute({
        ...ofOne,
        method: 'GET',
        path: '/mesh/dead-letters/:id',
        summary: 'One dead letter, with its event and its last error',
        handle: async ({ params: { id } }) => (await this.deadLetters.find(id)) ?? missing(id),
      }),
      meshRoute({
        ...ofOne,
        method: 'DELETE',
        path: '/mesh/dead-letters/:id',
        summary: 'Discards one dead letter',
        status: 204,
        handle: async ({ params: { id } }) => ((await this.deadLetters.discard(id)) ? undefined : missing(id)),
      }),
      meshRoute({
        ...ofOne,
        method: 'POST',
        path: '/mesh/dead-letters/:id/replay',
        summary: 'Requeues one dead letter to the consumer that failed, and to no other',
        query: replaying,
        status: 202,
        handle: async ({ params: { id }, query: { force } }) =>
          (await this.deadLetters.requeue(id, force === 'true')) ? { replayed: 1 } : missing(id),
      }),
    ];
  }

  private async list(query: z.infer<typeof listing>): Promise<object> {
    const { by, page, size, ...which } = query;
    const total = await this.deadLetters.count(which);
    if (by) return { total, causes: await this.deadLetters.causes(which) };
    const items = await this.deadLetters.list(which, { limit: size, offset: (page - 1) * size });
    return { items, page, size, total };
  }

  private replayAll({ force, ...which }: z.infer<typeof replayingAll>): Promise<ReplayReport> {
    return this.deadLetters.requeueAll(which, force === 'true');
  }
}

function missing(id: string): never {
  throw new NotFound(`There is no dead letter ${id}`, 'id');
}
