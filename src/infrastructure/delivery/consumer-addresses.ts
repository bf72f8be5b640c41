import type { Type } from '@nestjs/common';
import { consumersByType, meshFeatureOf } from '../contracts/mesh-feature.js';

/** Which modules of the application a dead letter belongs to, and where other processes host them. */
export class ConsumerAddresses {
  private readonly modules: ReadonlySet<string>;
  private readonly consumers: ReadonlyMap<string, readonly string[]>;

  /**
   * @param services base URLs by module
   * @param modules all modules of the application
   */
  constructor(
    private readonly services: Readonly<Record<string, string>>,
    modules: readonly Type[],
  ) {
    this.modules = new Set(modules.map((it) => meshFeatureOf(it).name));
    this.consumers = consumersByType(modules);
  }

  isModule(name: string): boolean {
    return this.modules.has(name);
  }

  /**
   * The address of a module that another process hosts; undefined when its base URL is unknown. It never contains a part of
   * a destination: the sender of a dead letter must not choose where this process posts.
   */
  addressOf(module: string): string | undefined {
    if (!Object.hasOwn(this.services, module)) return undefined;
    return `${this.services[module]!.replace(/\/+$/, '')}/mesh/${module}`;
  }

  /** Whether a URL is exactly the address of a module: `<base URL>/mesh/<module>`. */
  isAddress(url: string): boolean {
    return [...this.modules].some((module) => this.addressOf(module) === url);
  }

  /**
   * The modules that failed to handle a message: those at the destination that the broker named. A destination that is
   * none of ours, such as the URL of a broker's filter, may stand for each consumer of the type: the inboxes of those that
   * have handled the message drop it.
   * @returns no module when this release knows neither the destination nor a consumer of the type
   */
  failedConsumers(type: string, destination: string | undefined): readonly string[] {
    const consumers = this.consumers.get(type) ?? [];
    if (destination === undefined || !URL.canParse(destination)) return consumers;
    const { host, pathname } = new URL(destination);
    const isHere = (base: string | undefined) => base !== undefined && new URL(base).host === host;
    const here = Object.keys(this.services).filter((module) => isHere(this.services[module]));
    const named = moduleIn(pathname);
    // On another host the path could also be a broker's: `/<namespace>/<name>`.
    const isNamed = here.length > 0 || consumers.length === 0 || consumers.includes(named ?? '');
    if (named !== undefined && this.modules.has(named) && isNamed) return [named];
    const both = consumers.filter((consumer) => here.includes(consumer));
    if (both.length > 0) return both;
    return consumers.length === 0 && here.length === 1 ? here : consumers;
  }
}

/** The consumer behind an address: its module for `…/mesh/<module>`, else the address itself. */
export function consumerAt(url: URL): string {
  return moduleIn(url.pathname) ?? url.href;
}

function moduleIn(path: string): string | undefined {
  return /\/mesh\/([a-z][\w-]*)\/*$/.exec(path)?.[1];
}
