import { Inject, Injectable } from '@nestjs/common';
import { HandlerRegistry } from './handler-registry.js';
import { permittedSenders, Reject, type MessageClass, type QueryClass } from './message.js';

/** The injection token of the application's name, which stands in sources and schemas. */
export const APPLICATION = Symbol('APPLICATION');

/** The `source` of the messages that a module sends. */
export function sourceOf(application: string, module: string): string {
  return `usvc://${application}/${module}`;
}

/** Who may send which message and ask which query, as the contracts say: in this process by module, over the mesh by source. */
@Injectable()
export class Permissions {
  constructor(
    private readonly registry: HandlerRegistry,
    @Inject(APPLICATION) private readonly application: string,
  ) {}

  /** Whether a module may send a message or ask a query. */
  allows(declaration: MessageClass | QueryClass, module: string): boolean {
    return this.sendersOf(declaration).includes(module);
  }

  /**
   * The sender of a message that doesn't come by the bus of a module: `handling` if it may send it, else the owner of the
   * message, else the first module that may.
   * @param handling the module that handles a message now
   */
  senderOf(declaration: MessageClass, handling: string | undefined): string {
    const owner = this.registry.owner(declaration) ?? '';
    const permitted = this.sendersOf(declaration);
    const isModule = (it: string) => !/[:/]/.test(it);
    return [handling, owner].find((it) => it && permitted.includes(it)) ?? permitted.find(isModule) ?? owner;
  }

  /** @throws Error when the contract doesn't name the module */
  assertAllows(declaration: MessageClass | QueryClass, module: string): void {
    if (this.allows(declaration, module)) return;
    const [what, option] =
      declaration.kind === 'query'
        ? [`ask the query ${declaration.queryName}`, 'askedBy']
        : [`send ${declaration.type}`, 'sentBy'];
    const owner = this.registry.owner(declaration);
    throw new Error(
      `${module} may not ${what} of ${owner}, only ${this.sendersOf(declaration).join(', ') || 'nobody'}: ` +
        `add ${module} to its ${option} in the contract of ${owner}`,
    );
  }

  /** @throws Reject when the contract of a message names neither a module with this source nor the source itself */
  assertAllowsSource(declaration: MessageClass, source: string): void {
    const isAllowed = this.sendersOf(declaration).some(
      (it) => source === it || source === sourceOf(this.application, it),
    );
    if (!isAllowed)
      throw new Reject(`${source} may not send ${declaration.type}: its contract doesn't name this source`);
  }

  private sendersOf(declaration: MessageClass | QueryClass): readonly string[] {
    const owner = this.registry.owner(declaration);
    return owner === undefined ? [] : permittedSenders(declaration, owner);
  }
}
