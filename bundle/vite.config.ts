import { join } from 'node:path';
import { defineConfig } from 'vite';

const ROOT = join(import.meta.dirname, '..');

/**
 * Bundles the compiled application and its packages. A start of `dist/src` reads 1800 files, which takes most of its time.
 * The bundle is as deep in the tree as `dist/src`, so paths relative to `import.meta.url` stay right.
 */
export default defineConfig({
  root: ROOT,
  publicDir: false,
  ssr: {
    noExternal: true,
    // better-sqlite3 has native code, swagger-ui-dist reads files of its own, TypeORM needs the same pg as the mesh, an SDK of
    // OpenTelemetry the same API, and pino-pretty may be missing.
    external: ['@opentelemetry/api', 'better-sqlite3', 'better-sqlite3-13', 'pg', 'pino-pretty', 'swagger-ui-dist'],
  },
  build: {
    ssr: join(ROOT, 'dist/src/main.js'),
    outDir: join(ROOT, 'dist/bundle'),
    emptyOutDir: true,
    target: 'node20',
    // Stack traces stay readable.
    minify: false,
    // Names of classes are in log lines and in the names of migrations.
    rolldownOptions: { output: { keepNames: true, chunkFileNames: '[name]-[hash].js' } },
  },
});
