import type { IncomingMessage } from 'node:http';
import { Inject, Injectable } from '@nestjs/common';
import { Forbidden } from '../contracts/domain-errors.js';
import { authorizationOf, TOKEN_VERIFIER, type TokenVerifier } from '../http/bearer-tokens.js';
import type { RouteGuard } from '../http/mesh-route.js';

/** The injection token of the subjects (`sub`) that ask for each module. */
export const QUERY_CALLERS = Symbol('QUERY_CALLERS');

/** Lets only known modules ask, where the mesh needs tokens. */
@Injectable()
export class QueryCallers implements RouteGuard {
  private readonly modules = new WeakMap<IncomingMessage, readonly string[]>();

  constructor(
    @Inject(TOKEN_VERIFIER) private readonly tokens: TokenVerifier | undefined,
    @Inject(QUERY_CALLERS) private readonly subjects: Readonly<Record<string, readonly string[]>>,
  ) {}

  async authorize(request: IncomingMessage): Promise<void> {
    if (!this.tokens) return;
    const subject = await this.tokens.verify(authorizationOf(request));
    const modules = Object.keys(this.subjects).filter((module) => this.subjects[module]!.includes(subject));
    if (modules.length === 0) {
      throw new Forbidden('The subject of the token may not ask here: list it in the option broker.tokens.callers');
    }
    this.modules.set(request, modules);
  }

  /**
   * The modules that may have sent a query from another process: those with the subject of its token. Several modules share
   * a subject where one process hosts them. Undefined where queries need no token, so that the caller is unknown.
   */
  of(request: IncomingMessage): readonly string[] | undefined {
    return this.modules.get(request);
  }
}
