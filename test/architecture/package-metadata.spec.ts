import 'reflect-metadata';
import { Controller, Module, Post, RequestMethod } from '@nestjs/common';
import { Command, CommandHandler, EventsHandler, Query, QueryHandler, Saga } from '@nestjs/cqrs';
import { ApiOperation, ApiResponse, ApiTags } from '@nestjs/swagger';
import type { Observable } from 'rxjs';
import { CQRS_KEYS, NEST_KEYS, SWAGGER_KEYS } from '../../src/infrastructure/contracts/package-metadata.js';

/* The installed versions still use the metadata keys that src/infrastructure reads and writes. */

class Sweep extends Command<void> {}
class Swept {}
class CountBrooms extends Query<number> {}

@CommandHandler(Sweep)
class SweepHandler {
  async execute() {}
}
@EventsHandler(Swept)
class SweptHandler {
  handle() {}
}
@QueryHandler(CountBrooms)
class CountBroomsHandler {
  async execute() {
    return 1;
  }
}
class Cleaning {
  @Saga()
  clean!: (events: Observable<unknown>) => Observable<Command<void>>;
}
@ApiTags('a section')
@Controller('routes')
class Routes {
  @Post()
  @ApiOperation({ summary: 'a summary' })
  @ApiResponse({ status: 200, description: 'a response' })
  route() {}
}
@Module({ providers: [SweepHandler] })
class CleaningModule {}

describe('Metadata keys of', () => {
  it.each([
    ['a command handler', CQRS_KEYS.command, SweepHandler, Sweep],
    ['an event handler', CQRS_KEYS.event, SweptHandler, [Swept]],
    ['a query handler', CQRS_KEYS.query, CountBroomsHandler, CountBrooms],
    ['a saga', CQRS_KEYS.saga, Cleaning, ['clean']],
    ['the providers of a module', NEST_KEYS.providers, CleaningModule, [SweepHandler]],
    ['the path of a controller', NEST_KEYS.path, Routes, 'routes'],
    // eslint-disable-next-line @typescript-eslint/unbound-method -- metadata is on the function
    ['the method of a route', NEST_KEYS.method, Routes.prototype.route, RequestMethod.POST],
  ])('%s are those of the installed version', (_, key, target, value) => {
    expect(Reflect.getMetadata(key, target)).toEqual(value);
  });

  it('a route are those of the installed @nestjs/swagger', () => {
    // eslint-disable-next-line @typescript-eslint/unbound-method -- metadata is on the function
    const { route } = Routes.prototype;
    expect(Reflect.getMetadata(SWAGGER_KEYS.operation, route)).toMatchObject({ summary: 'a summary' });
    expect(Reflect.getMetadata(SWAGGER_KEYS.response, route)).toMatchObject({ 200: { description: 'a response' } });
    expect(Reflect.getMetadata(SWAGGER_KEYS.tags, Routes)).toEqual(['a section']);
  });
});
