import { Inject, Injectable, SetMetadata, type CanActivate, type ExecutionContext, type Type } from '@nestjs/common';
import { Reflector } from '@nestjs/core';
import type { Request } from 'express';
import { Unauthorized, type TokenVerifier } from './bearer-tokens.js';

/** The injection token of `RestTokens`; undefined where REST needs no tokens. */
export const REST_TOKENS = Symbol('REST_TOKENS');

/** The tokens that requests to the application's controllers must carry. */
export interface RestTokens {
  readonly issuer: string;
  readonly audience: string;
  readonly verifier: TokenVerifier;
}

const WITHOUT_TOKEN = 'mesh:without-token';

/** Lets a controller or a route be used without a token. */
export const WithoutToken = () => SetMetadata(WITHOUT_TOKEN, true);

/** The method of a route. */
export type Handler = ReturnType<ExecutionContext['getHandler']>;

/** Whether a route needs a token: it does unless it has `@WithoutToken()`. */
export function needsToken(reflector: Reflector, handler: Handler, controller: Type | Handler): boolean {
  return reflector.getAllAndOverride<true | undefined>(WITHOUT_TOKEN, [handler, controller]) === undefined;
}

/** The scheme of an Authorization header (RFC 6750), in any case. */
const BEARER = /^Bearer(\s|$)/i;

const senders = new WeakMap<object, string>();

/** Names the verified sender of a request, by issuer and subject; undefined where REST needs no tokens. */
export function senderOf(request: object): string | undefined {
  return senders.get(request);
}

/** Demands a valid token for all routes of REST, where the application names an issuer. */
@Injectable()
export class RestTokensGuard implements CanActivate {
  constructor(
    @Inject(REST_TOKENS) private readonly tokens: RestTokens | undefined,
    private readonly reflector: Reflector,
  ) {}

  canActivate(context: ExecutionContext): boolean | Promise<boolean> {
    if (!this.tokens || context.getType() !== 'http') return true;
    if (!needsToken(this.reflector, context.getHandler(), context.getClass())) return true;
    return this.authenticate(context.switchToHttp().getRequest<Request>(), this.tokens);
  }

  /** @throws Unauthorized without a valid token, KeysUnavailable while it can't be checked */
  private async authenticate(request: Request, { issuer, audience, verifier }: RestTokens): Promise<true> {
    const headers = request.headersDistinct.authorization ?? [];
    const advice = `send Authorization: Bearer <token>, with a token of ${issuer} for the audience ${audience}`;
    if (!headers.some((it) => BEARER.test(it))) throw new Unauthorized(`This needs a token: ${advice}`);
    try {
      // A proxy in front may have checked another one of them.
      if (headers.length > 1) throw new Unauthorized('several Authorization headers');
      const subject = await verifier.verify(headers[0]);
      // No header holds a line break, so this differs from the value of every Authorization header.
      senders.set(request, `${issuer}\n${subject}`);
      return true;
    } catch (error) {
      if (!(error instanceof Unauthorized)) throw error;
      const challenge = `Bearer error="invalid_token", error_description="${error.message}"`;
      throw new Unauthorized(`The token is not accepted (${error.message}): ${advice}`, challenge);
    }
  }
}
