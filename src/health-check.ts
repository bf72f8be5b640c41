import { get } from 'node:http';

/*
 * The health check of the image: exits with 0 while the process of this container answers GET /health/live, otherwise with 1.
 * It asks on the port of REST, which every process has. Kubernetes has probes of its own, and doesn't run this file.
 */

/** Less than the timeout of HEALTHCHECK in the Dockerfile. */
const TIMEOUT_MS = 4000;

/** As in the configuration, where an empty variable counts as absent. Loading the configuration itself would take longer. */
const port = process.env.REST_PORT || process.env.PORT || '3000';

get({ host: '127.0.0.1', port, path: '/health/live', timeout: TIMEOUT_MS, agent: false }, ({ statusCode }) =>
  process.exit(statusCode === 200 ? 0 : 1),
)
  .on('timeout', () => process.exit(1))
  .on('error', () => process.exit(1));
