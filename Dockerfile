# One image for every process: MODULES says which modules one hosts, `node dist/src/migrate.js` brings its database up to date.

# The digest is that of Node 24.21.0 for all platforms. Change it in both stages.
FROM node:24-bookworm-slim@sha256:0e0ff40c39bc087845bfb27465a0df4ea419520094bc35842ff83dd8cbe6f9b6 AS build
WORKDIR /app
COPY package.json package-lock.json ./
# Packages must not run code of their own here. better-sqlite3 13 brings its programs with it, and the lock file pins them.
RUN npm ci --ignore-scripts --no-audit --no-fund
COPY nest-cli.json tsconfig.json tsconfig.build.json ./
COPY src src
COPY migrations migrations
COPY console console
COPY bundle bundle
RUN npm run build && npm prune --omit=dev --ignore-scripts --no-audit --no-fund

FROM node:24-bookworm-slim@sha256:0e0ff40c39bc087845bfb27465a0df4ea419520094bc35842ff83dd8cbe6f9b6
# The process needs no package manager, and neither does an intruder.
RUN rm -rf /usr/local/lib/node_modules /usr/local/bin/npm /usr/local/bin/npx /usr/local/bin/corepack \
  /usr/local/bin/yarn /usr/local/bin/yarnpkg /opt/yarn-*
# The heap gets three quarters of the container's memory limit: garbage is collected before the kernel ends the process.
ENV NODE_ENV=production \
  NODE_OPTIONS=--max-old-space-size-percentage=75
WORKDIR /app
COPY --from=build /app/package.json ./
COPY --from=build /app/node_modules node_modules
COPY --from=build /app/dist dist
COPY --from=build /app/console/dist console/dist
# `node`, by its number: Kubernetes can't tell that a name isn't root. It owns nothing here and writes nothing.
USER 1000:1000
EXPOSE 3000 8081
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=5s --start-period=30s CMD ["node", "dist/src/health-check.js"]
# No shell and no npm in between: the signal is for the process that knows how to end.
CMD ["node", "dist/bundle/main.js"]
