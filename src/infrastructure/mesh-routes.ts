import type { Provider } from '@nestjs/common';
import { ConsoleRoutes } from './console/console.routes.js';
import { ConsoleDevelopmentRoutes } from './console/development.routes.js';
import { ConsolePageRoutes } from './console/page.routes.js';
import { QueriesRoutes } from './cqrs/queries.routes.js';
import { DeadLettersRoutes } from './dead-letters/dead-letters.routes.js';
import { MESH_ROUTES, type MeshRoute } from './http/mesh-route.js';
import { AsyncApiRoutes } from './maintenance/asyncapi.routes.js';
import { JournalRoutes } from './maintenance/journal.routes.js';
import { HealthRoutes } from './maintenance/health.routes.js';
import { MetricsRoutes } from './maintenance/metrics.routes.js';
import { OutboxRoutes } from './maintenance/outbox.routes.js';
import { ReconciliationRoutes } from './maintenance/reconciliation.routes.js';

/** All routes of the mesh. An application with HTTP conventions of its own has its own /health. */
export function meshRoutes(isWhole: boolean): Provider {
  const groups = [
    OutboxRoutes,
    MetricsRoutes,
    AsyncApiRoutes,
    DeadLettersRoutes,
    JournalRoutes,
    ReconciliationRoutes,
    QueriesRoutes,
    ConsoleDevelopmentRoutes,
    ConsolePageRoutes,
    ConsoleRoutes,
    ...(isWhole ? [HealthRoutes] : []),
  ];
  const all = (...found: { routes: readonly MeshRoute[] }[]) => found.flatMap(({ routes }) => routes);
  return { provide: MESH_ROUTES, useFactory: all, inject: groups };
}
