import { Injectable } from '@nestjs/common';
import { isEffectConsumer } from '../contracts/find-handlers.js';
import { HandlerRegistry } from '../contracts/handler-registry.js';
import { ConsumerAddresses } from '../delivery/consumer-addresses.js';
import { UNPUBLISHED, type DeadLetterHead } from '../store/dead-letter-rows.js';

/** Where a dead letter goes when it is requeued. */
@Injectable()
export class RequeueTargets {
  constructor(
    private readonly registry: HandlerRegistry,
    private readonly addresses: ConsumerAddresses,
  ) {}

  /**
   * To modules of this process or addresses of others; into the outbox if there is none.
   * Earlier releases, and brokers, also left dead letters whose consumer is an address or unknown.
   */
  of({ consumer, type, destination }: DeadLetterHead): { targets?: string[]; reason?: string } {
    if (consumer === UNPUBLISHED) return { targets: [] };
    if (isEffectConsumer(consumer))
      return this.registry.hasEffect(consumer) ? { targets: [consumer] } : { reason: unknownEffect(consumer) };
    const isModule = this.addresses.isModule(consumer);
    const failed = isModule ? [consumer] : this.addresses.failedConsumers(type, destination ?? consumer);
    if (failed.length === 0) return { reason: unknownConsumer(consumer, type) };
    const targets: string[] = [];
    for (const module of failed) {
      const target = this.registry.hosts(module) ? module : this.addresses.addressOf(module);
      if (target === undefined) return { reason: unknownAddress(module) };
      targets.push(target);
    }
    return { targets };
  }
}

const unknownAddress = (module: string) =>
  `The address of ${module} is unknown: set USVC_${module.toUpperCase()} to its base URL, then replay`;

const unknownEffect = (consumer: string) =>
  `No module of this process has a handler with perform() for ${consumer}: replay it in the process that hosts the module`;

function unknownConsumer(consumer: string, whole: string): string {
  const type = whole.slice(0, 200);
  const where = /^https?:/.test(consumer)
    ? `No module is known at ${consumer}, and no module of this release handles ${type}: set USVC_<MODULE> to the base URL of the module there, or`
    : `No module of this release handles ${type}:`;
  return `${where} start a release that handles it, then replay`;
}
