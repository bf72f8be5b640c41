import type { Provider, Type } from '@nestjs/common';
import type { ModulesContainer } from '@nestjs/core';
import { CommandBus, EventBus, QueryBus } from '@nestjs/cqrs';

/** A bus that can be given to a module, so that it knows who sends. */
export interface ModuleBus<Bus> {
  /** The same bus, for the code of this module. */
  of(module: string): Bus;
}

/** The injection tokens of the buses of the process. A module that injects `CommandBus` gets one of its own. */
export const PROCESS_BUSES = new Map<Type, symbol>([
  [CommandBus, Symbol('PROCESS_COMMAND_BUS')],
  [EventBus as Type, Symbol('PROCESS_EVENT_BUS')],
  [QueryBus as Type, Symbol('PROCESS_QUERY_BUS')],
]);

/** The buses of a module, as providers of its Nest module: what is sent through them comes from this module. */
export function busesOf(module: string): Provider[] {
  return [...PROCESS_BUSES].map(([bus, inject]) => ({
    provide: bus,
    useFactory: (processBus: ModuleBus<unknown>) => processBus.of(module),
    inject: [inject],
  }));
}

/**
 * Lets `app.get(CommandBus)` find the bus of the process. Nest takes the provider of the module that was added last, which
 * would be the bus of some module. To be called before the first `app.get()`.
 */
export function preferBusesOfProcess(container: ModulesContainer): void {
  const token = PROCESS_BUSES.get(CommandBus)!;
  const found = [...container].find(([, { providers }]) => providers.has(token));
  if (!found) return;
  container.delete(found[0]);
  container.set(...found);
}
