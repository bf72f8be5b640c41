import { meshy } from './meshy-command.js';

/* The command line of the package, with the addresses of this application. */

await meshy(process.argv.slice(2), {
  manifests: 'deploy/knative/monolith',
  services: { cabs: 'http://localhost:3000', 'dead-letters': 'http://localhost:3001' },
  database: 'sqlite:data/mesh.db',
});
