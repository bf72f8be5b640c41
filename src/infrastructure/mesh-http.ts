import type { IncomingMessage, ServerResponse } from 'node:http';
import { Inject, Injectable } from '@nestjs/common';
import { HttpAdapterHost } from '@nestjs/core';
import { BrokerIngress } from './broker/broker-ingress.js';
import { Admission } from './http/admission.js';
import { ADMINISTRATION, type Administration } from './http/administration.js';
import { Connections } from './http/connections.js';
import { MeshListener } from './http/mesh-listener.js';
import { MeshRouter, type Port } from './http/mesh-router.js';
import { addDistinctHeaders, otherSiteProblem, protocolProblem } from './http/request-checks.js';
import { incomingContext, runInContext } from './observability/request-context.js';
import { inRequestSpan } from './observability/tracing.js';

/** The injection token of a boolean: whether all requests follow the HTTP conventions of the mesh (`http: 'whole'`). */
export const IS_WHOLE = Symbol('IS_WHOLE');

/**
 * What comes before the router of the application. Requests to the mesh end here, so that its routes work under any
 * conventions of the application. The public port serves them only where the mesh has no port of its own.
 */
@Injectable()
export class MeshHttp {
  constructor(
    host: HttpAdapterHost,
    private readonly connections: Connections,
    private readonly listener: MeshListener,
    private readonly ingress: BrokerIngress,
    private readonly router: MeshRouter,
    private readonly admission: Admission,
    @Inject(IS_WHOLE) private readonly isWhole: boolean,
    @Inject(ADMINISTRATION) private readonly administration: Administration,
  ) {
    // pnpm and yarn only warn of a Nest that the manifest excludes.
    if (!('init$' in host)) throw new Error('The mesh needs Nest 11.1.4 or later: update @nestjs/core');
    // An application context without HTTP never has an adapter.
    host.init$.subscribe(() => {
      host.httpAdapter?.use((request: IncomingMessage, response: ServerResponse, next: () => void) =>
        this.takePublic(request, response, next),
      );
    });
  }

  /** Answers a request to the mesh's own port. */
  takeMesh(request: IncomingMessage, response: ServerResponse): void {
    this.connections.take(request.socket, response, () => {
      if (this.refuses(request, response)) return;
      this.answer(request, response, 'mesh', () => this.router.refuse(request, response));
    });
  }

  private takePublic(request: IncomingMessage, response: ServerResponse, next: () => void): void {
    const port = this.listener.isSeparate ? 'public' : 'mesh';
    if (!this.isWhole) {
      if (this.isForMesh(request)) {
        addDistinctHeaders(request);
        if (this.refuses(request, response)) return;
      }
      return this.answer(request, response, port, () => runInContext(incomingContext(request), next));
    }
    this.connections.take(request.socket, response, () => {
      if (this.refuses(request, response)) return;
      this.answer(request, response, port, () => this.admission.refuseExcess(request, response, next));
    });
  }

  /** Whether a route of the mesh may be meant: an application answers its other requests as it likes. */
  private isForMesh({ url = '' }: IncomingMessage): boolean {
    return url.startsWith('/mesh/');
  }

  private refuses(request: IncomingMessage, response: ServerResponse): boolean {
    const malformed = protocolProblem(request);
    if (malformed) response.shouldKeepAlive = false;
    const problem = malformed ?? otherSiteProblem(request, this.administration.isDevelopment);
    if (problem) this.router.refuse(request, response, problem);
    return problem !== undefined;
  }

  /** @param otherwise handles what is for no route of the mesh */
  private answer(request: IncomingMessage, response: ServerResponse, port: Port, otherwise: () => void): void {
    // The span of a delivery is below that of its message, not below the request of the broker.
    if (port === 'mesh' && this.ingress.take(request, response)) return;
    inRequestSpan(request, response, () => {
      if (!this.router.take(request, response, port)) otherwise();
    });
  }
}
