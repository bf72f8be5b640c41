import { Body, Controller, Get, Headers, HttpCode, HttpStatus, Param, Post, Query, Res } from '@nestjs/common';
import { CommandBus, QueryBus } from '@nestjs/cqrs';
import type { Response } from 'express';
import { z } from 'zod';
import { Conflict, NotFound } from '../../infrastructure/contracts/domain-errors.js';
import { Admission } from '../../infrastructure/http/admission.js';
import { Location } from '../../infrastructure/http/location.js';
import { preferredWaitMs } from '../../infrastructure/http/prefer.js';
import { Idempotent } from '../../infrastructure/http/idempotency.js';
import { Operation } from '../../infrastructure/http/openapi.js';
import {
  moment,
  paging,
  queryParameters,
  recordId,
  total,
  uuidParameter,
  writtenId,
} from '../../infrastructure/contracts/schemas.js';
import { address } from '../geolocation/contract.js';
import { AcceptTransit } from './accept-transit.js';
import { CancelTransit } from './cancel-transit.js';
import { ChangeDestination } from './change-destination.js';
import { ListTransits, ReadTransit, STATUSES, transit } from './contract.js';
import { PublishTransit } from './publish-transit.js';
import { RejectTransit } from './reject-transit.js';
import { RequestCompletion } from './request-completion.js';
import { RequestTransit, transitRequest } from './request-transit.js';
import { TransitNotifier } from './transit-notifier.js';
import type { TransitView } from './transits.store.js';
import { StartTransit } from './start-transit.js';

type Id = z.infer<typeof uuidParameter>;

const byDriver = z.object({ driverId: recordId });
const byAnyDriver = z.object({ driverId: recordId.optional() }).default({});
const completion = address.extend({ driverId: recordId.optional() });
const listing = queryParameters({
  ...paging.shape,
  clientId: writtenId.optional(),
  status: z.string().toUpperCase().pipe(z.enum(STATUSES)).optional(),
  requestedBefore: moment.optional(),
});
const transits = z.object({ items: z.array(transit), page: z.int(), size: z.int(), total });

@Controller('transits')
export class RidesController {
  constructor(
    private readonly commands: CommandBus,
    private readonly queries: QueryBus,
    private readonly notifier: TransitNotifier,
    private readonly admission: Admission,
  ) {}

  @Post()
  @Idempotent()
  @Location('/transits/:id')
  @Operation('Requests a ride; the reply has its estimated price', {
    status: 201,
    body: transit,
    also: [400, 404],
  })
  request(@Body({ schema: transitRequest }) body: z.infer<typeof transitRequest>): Promise<TransitView> {
    return this.commands.execute(new RequestTransit(body));
  }

  @Get()
  @Operation('Rides, latest first; requestedBefore=<requestedAt> leads to those after the last page', {
    body: transits,
    also: [400],
  })
  list(@Query({ schema: listing }) query: z.infer<typeof listing>) {
    return this.queries.execute(new ListTransits(query));
  }

  @Get(':id')
  @Operation('A ride, and how far it is settled', { body: transit, also: [404] })
  async read(@Param({ schema: uuidParameter }) { id }: Id): Promise<TransitView> {
    const found = await this.queries.execute(new ReadTransit({ transitId: id }));
    if (!found) throw new NotFound(`There is no transit ${id}`, 'id');
    return found;
  }

  @Post(':id/publish')
  @HttpCode(200)
  @Operation('Offers the ride to drivers', { body: transit, also: [404, 409] })
  publish(@Param({ schema: uuidParameter }) { id }: Id): Promise<TransitView> {
    return this.commands.execute(new PublishTransit(id));
  }

  @Post(':id/accept')
  @HttpCode(202)
  @Location('/transits/:id')
  @Operation('A driver accepts the ride; Prefer: wait=5 waits until the driver is confirmed (200)', {
    status: 202,
    body: transit,
    also: [400, 404, 409],
    waits: true,
  })
  async accept(
    @Param({ schema: uuidParameter }) { id }: Id,
    @Body({ schema: byDriver }) { driverId }: z.infer<typeof byDriver>,
    @Headers('prefer') prefer: string | undefined,
    @Res({ passthrough: true }) response: Response,
  ): Promise<TransitView> {
    const accepting = await this.commands.execute(new AcceptTransit(id, driverId));
    const isAnswered = (transit: TransitView) => transit.status !== 'ACCEPTING' || transit.driverId !== driverId;
    const outcome = await this.wait(accepting, isAnswered, prefer, response);
    if (outcome.driverId === driverId) return outcome;
    throw new Conflict(`Driver ${driverId} was refused: they are no longer free or active`, 'driverId');
  }

  @Post(':id/reject')
  @HttpCode(200)
  @Operation('A driver rejects the ride', { body: transit, also: [400, 404, 409] })
  reject(
    @Param({ schema: uuidParameter }) { id }: Id,
    @Body({ schema: byDriver }) { driverId }: z.infer<typeof byDriver>,
  ): Promise<TransitView> {
    return this.commands.execute(new RejectTransit(id, driverId));
  }

  @Post(':id/start')
  @HttpCode(200)
  @Operation('Starts the ride: the passenger is in the car', { body: transit, also: [403, 404, 409] })
  start(
    @Param({ schema: uuidParameter }) { id }: Id,
    @Body({ schema: byAnyDriver }) { driverId }: z.infer<typeof byAnyDriver>,
  ): Promise<TransitView> {
    return this.commands.execute(new StartTransit(id, driverId));
  }

  @Post(':id/cancel')
  @HttpCode(200)
  @Operation('Cancels the ride', { body: transit, also: [404, 409] })
  cancel(@Param({ schema: uuidParameter }) { id }: Id): Promise<TransitView> {
    return this.commands.execute(new CancelTransit(id));
  }

  @Post(':id/destination')
  @HttpCode(200)
  @Operation('Changes the destination of the ride', { body: transit, also: [400, 404, 409] })
  changeDestination(
    @Param({ schema: uuidParameter }) { id }: Id,
    @Body({ schema: address }) destination: z.infer<typeof address>,
  ): Promise<TransitView> {
    return this.commands.execute(new ChangeDestination(id, destination));
  }

  @Post(':id/complete')
  @HttpCode(202)
  @Idempotent('present')
  @Location('/transits/:id')
  @Operation('Ends the ride at this address; Prefer: wait=5 waits until it is settled (200)', {
    status: 202,
    body: transit,
    also: [400, 403, 404, 409, 422],
    waits: true,
  })
  async complete(
    @Param({ schema: uuidParameter }) { id }: Id,
    @Body({ schema: completion }) { driverId, ...reached }: z.infer<typeof completion>,
    @Headers('prefer') prefer: string | undefined,
    @Res({ passthrough: true }) response: Response,
  ): Promise<TransitView> {
    const completing = await this.commands.execute(new RequestCompletion(id, reached, driverId));
    return this.wait(completing, isSettled, prefer, response);
  }

  /** Answers a repeated completion: with the transit as it is now, not as it was accepted. */
  async present({ id }: TransitView, prefer: string | undefined, response: Response): Promise<TransitView> {
    return this.wait(await this.read({ id }), isSettled, prefer, response);
  }

  /**
   * Waits as long as the client prefers, unless many clients wait. @returns the transit as wanted, with 200, or else as it
   * was accepted
   */
  private async wait(
    transit: TransitView,
    isWanted: (transit: TransitView) => boolean,
    prefer: string | undefined,
    response: Response,
  ): Promise<TransitView> {
    const ms = preferredWaitMs(prefer);
    if (ms === 0) return transit;
    const isOver = (it: TransitView) => isWanted(it) || response.destroyed;
    const outcome = await this.admission.whileWaiting(response, () =>
      this.notifier.until(transit.id, () => this.read({ id: transit.id }), isOver, ms),
    );
    if (!outcome) return transit;
    response.status(HttpStatus.OK).setHeader('Preference-Applied', `wait=${ms / 1000}`);
    return outcome;
  }
}

function isSettled({ settlement }: TransitView): boolean {
  return settlement !== undefined && !Object.values(settlement).includes('pending');
}
