import { timingSafeEqual } from 'node:crypto';
import {
  type CanActivate,
  Controller,
  Delete,
  type ExecutionContext,
  Get,
  HttpCode,
  Inject,
  Injectable,
  Param,
  Post,
  Query,
  UnauthorizedException,
  UseFilters,
  UseGuards,
  UsePipes,
} from '@nestjs/common';
import type { Request } from 'express';
import { z } from 'zod';
import { NotFound } from '../contracts/domain-errors.js';
import { DeadLetters } from './dead-letters.js';
import { outboxStatistics } from '../store/statistics.js';
import { UnitOfWork } from '../persistence/unit-of-work.js';
import { paging, uuidParameter } from '../contracts/schemas.js';
import { schemaValidation } from '../http/http.js';
import { Operation } from '../http/openapi.js';
import { ProblemFilter } from '../http/problem.filter.js';

/** Who may look after the mesh: the token that is asked for, or whether everybody may. */
export const ADMINISTRATION = Symbol('ADMINISTRATION');
export interface Administration {
  readonly token?: string;
  /** Without a token the administration is open in development, and doesn't exist otherwise. */
  readonly isDevelopment: boolean;
}

@Injectable()
export class AdministrationGuard implements CanActivate {
  constructor(@Inject(ADMINISTRATION) private readonly administration: Administration) {}

  canActivate(context: ExecutionContext): boolean {
    const { token, isDevelopment } = this.administration;
    const request = context.switchToHttp().getRequest<Request>();
    if (!token) {
      if (isDevelopment) return true;
      throw new NotFound(`Cannot ${request.method} ${request.path}`);
    }
    const given = /^Bearer (.+)$/i.exec(request.get('authorization') ?? '')?.[1] ?? '';
    const [expected, actual] = [Buffer.from(token), Buffer.from(given)];
    if (expected.length === actual.length && timingSafeEqual(expected, actual)) return true;
    throw new UnauthorizedException('Send the administration token: Authorization: Bearer …');
  }
}

/** PostgreSQL keeps no NUL, and takes none in a comparison. */
const exactly = (max: number) =>
  z
    .string()
    .max(max)
    .refine((it) => !it.includes('\0'), 'must not hold NUL')
    .optional();
const filter = z.object({ consumer: exactly(100), type: exactly(300), cause: exactly(300) });
const listing = filter.extend({ ...paging.shape, by: z.literal('cause').optional() });
const replaying = z.object({ force: z.enum(['true', 'false']).optional() });
const allReplaying = filter.extend(replaying.shape);

/** What is on its way, and what was given up. */
@Controller('mesh')
@UseGuards(AdministrationGuard)
export class MeshController {
  constructor(
    private readonly work: UnitOfWork,
    private readonly deadLetters: DeadLetters,
  ) {}

  @Get('outbox')
  @Operation('How many messages are on their way, and for how long')
  outbox(): Promise<object> {
    return outboxStatistics(this.work.sql);
  }

  @Get('dead-letters')
  @Operation('Messages that were given up, the latest first; ?by=cause counts them')
  async list(@Query({ schema: listing }) query: z.infer<typeof listing>): Promise<object> {
    const { by, page, size, ...which } = query;
    const total = await this.deadLetters.count(which);
    if (by) return { total, causes: await this.deadLetters.causes(which) };
    const items = await this.deadLetters.list(which, { limit: size, offset: (page - 1) * size });
    return { items, page, size, total };
  }

  @Get('dead-letters/:id')
  @Operation('One of them, with its event and its last error')
  async show(@Param({ schema: uuidParameter }) { id }: z.infer<typeof uuidParameter>): Promise<object> {
    return (await this.deadLetters.find(id)) ?? missing(id);
  }

  @Delete('dead-letters/:id')
  @HttpCode(204)
  @Operation('Discards one')
  async discard(@Param({ schema: uuidParameter }) { id }: z.infer<typeof uuidParameter>): Promise<void> {
    if (!(await this.deadLetters.discard(id))) missing(id);
  }

  @Post('dead-letters/replay')
  @HttpCode(202)
  @Operation('Gives all that match back to the consumers that failed')
  async replayAll(@Query({ schema: allReplaying }) query: z.infer<typeof allReplaying>): Promise<object> {
    const { force, ...which } = query;
    return { replayed: await this.deadLetters.requeueAll(which, force === 'true') };
  }

  @Post('dead-letters/:id/replay')
  @HttpCode(202)
  @Operation('Gives one back to the consumer that failed, and to nobody else')
  async replay(
    @Param({ schema: uuidParameter }) { id }: z.infer<typeof uuidParameter>,
    @Query({ schema: replaying }) { force }: z.infer<typeof replaying>,
  ): Promise<object> {
    if (!(await this.deadLetters.requeue(id, force === 'true'))) missing(id);
    return { replayed: 1 };
  }
}

/** The same for an application that keeps HTTP manners of its own: brings along what it needs of ours. */
@UsePipes(schemaValidation())
@UseFilters(ProblemFilter)
export class StandaloneMeshController extends MeshController {}

function missing(id: string): never {
  throw new NotFound(`There is no dead letter ${id}`, 'id');
}
