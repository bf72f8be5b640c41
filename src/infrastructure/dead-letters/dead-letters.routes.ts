import { Controller, Delete, Get, HttpCode, Param, Post, Query, UseFilters, UseGuards, UsePipes } from '@nestjs/common';
import { z } from 'zod';
import { NotFound } from '../contracts/domain-errors.js';
import { paging, uuidParameter } from '../contracts/schemas.js';
import { AdministrationGuard } from '../http/administration.guard.js';
import { ServedOn } from '../http/listener.guard.js';
import { ApiSection, Operation } from '../http/openapi.js';
import { ProblemFilter } from '../http/problem.filter.js';
import { QueryParameters } from '../http/strict-request.js';
import { schemaValidation } from '../http/validation.js';
import { DeadLetters } from './dead-letters.js';
import type { ReplayReport } from './replay-report.js';

/** PostgreSQL refuses NUL, also in a comparison. */
const exactly = (max: number) =>
  z
    .string()
    .max(max)
    .refine((it) => !it.includes('\0'), 'must not hold NUL')
    .optional();
const filter = z.object({ consumer: exactly(100), type: exactly(300), cause: exactly(300) });
const listing = filter.extend({ ...paging.shape, by: z.literal('cause').optional() });
const replaying = z.object({ force: z.enum(['true', 'false']).optional() });
const replayingAll = filter.extend(replaying.shape);

@Controller('mesh/dead-letters')
@ApiSection('Mesh')
@ServedOn('mesh')
@UseGuards(AdministrationGuard)
export class DeadLettersController {
  constructor(private readonly deadLetters: DeadLetters) {}

  @Get()
  @QueryParameters(listing)
  @Operation('Messages that failed for good, the latest first; ?by=cause counts them')
  async list(@Query({ schema: listing }) query: z.infer<typeof listing>): Promise<object> {
    const { by, page, size, ...which } = query;
    const total = await this.deadLetters.count(which);
    if (by) return { total, causes: await this.deadLetters.causes(which) };
    const items = await this.deadLetters.list(which, { limit: size, offset: (page - 1) * size });
    return { items, page, size, total };
  }

  @Get(':id')
  @Operation('One dead letter, with its event and its last error')
  async show(@Param({ schema: uuidParameter }) { id }: z.infer<typeof uuidParameter>): Promise<object> {
    return (await this.deadLetters.find(id)) ?? missing(id);
  }

  @Delete(':id')
  @HttpCode(204)
  @Operation('Discards one dead letter')
  async discard(@Param({ schema: uuidParameter }) { id }: z.infer<typeof uuidParameter>): Promise<void> {
    if (!(await this.deadLetters.discard(id))) missing(id);
  }

  @Post('replay')
  @QueryParameters(replayingAll)
  @HttpCode(202)
  @Operation('Requeues all dead letters that match, each to the consumer that failed; tells which it skipped, and why')
  async replayAll(@Query({ schema: replayingAll }) query: z.infer<typeof replayingAll>): Promise<ReplayReport> {
    const { force, ...which } = query;
    return this.deadLetters.requeueAll(which, force === 'true');
  }

  @Post(':id/replay')
  @QueryParameters(replaying)
  @HttpCode(202)
  @Operation('Requeues one dead letter to the consumer that failed, and to no other')
  async replay(
    @Param({ schema: uuidParameter }) { id }: z.infer<typeof uuidParameter>,
    @Query({ schema: replaying }) { force }: z.infer<typeof replaying>,
  ): Promise<object> {
    if (!(await this.deadLetters.requeue(id, force === 'true'))) missing(id);
    return { replayed: 1 };
  }
}

/** For applications with HTTP conventions of their own: the same routes, with the validation and the problem documents of the mesh. */
@UsePipes(schemaValidation())
@UseFilters(ProblemFilter)
export class StandaloneDeadLettersController extends DeadLettersController {}

function missing(id: string): never {
  throw new NotFound(`There is no dead letter ${id}`, 'id');
}
