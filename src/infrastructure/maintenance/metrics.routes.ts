import { Injectable } from '@nestjs/common';
import { NotFound } from '../contracts/domain-errors.js';
import { AdministrationGuard } from '../http/administration.js';
import { meshRoute, type MeshRoute } from '../http/mesh-route.js';
import { Metrics } from './metrics.js';

/** The content type of Prometheus's text format. */
const CONTENT_TYPE = 'text/plain; version=0.0.4; charset=utf-8';

@Injectable()
export class MetricsRoutes {
  readonly routes: readonly MeshRoute[];

  constructor(metrics: Metrics, guard: AdministrationGuard) {
    const show = meshRoute({
      method: 'GET',
      path: '/mesh/metrics',
      summary: 'The figures of this process, in the text format of Prometheus',
      guard,
      contentType: CONTENT_TYPE,
      handle: async () => {
        const text = await metrics.text();
        if (text === undefined) throw new NotFound('There are no metrics: install the package prom-client');
        return text;
      },
    });
    this.routes = [show];
  }
}
