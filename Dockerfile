# One image for every process: MODULES says which modules one hosts, `node dist/src/migrate.js` brings its database up to date.

# The digest is that of Node 22.23.3 for all platforms. Change it in both stages.
FROM node:22-bookworm-slim@sha256:43ac6c60b8f89723f746e8a92ce91abd5017e627ce1ddfe4238355d3a30b772c AS build
WORKDIR /app
# To compile better-sqlite3; none of it gets into the image.
RUN apt-get update \
  && apt-get install -y --no-install-recommends python3 make g++ \
  && rm -rf /var/lib/apt/lists/*
COPY package.json package-lock.json ./
# Packages must not run code of their own here, except for better-sqlite3, which needs its addon. Its script would download a
# binary that no digest pins. The lock file pins the source, and Node's headers are part of the base.
RUN npm ci --ignore-scripts --no-audit --no-fund \
  && npm_config_build_from_source=true npm_config_nodedir=/usr/local npm rebuild better-sqlite3 \
  && rm -rf node_modules/better-sqlite3/build/Release/obj*
COPY nest-cli.json tsconfig.json tsconfig.build.json ./
COPY src src
COPY migrations migrations
COPY console console
COPY bundle bundle
RUN npm run build && npm prune --omit=dev --ignore-scripts --no-audit --no-fund

FROM node:22-bookworm-slim@sha256:43ac6c60b8f89723f746e8a92ce91abd5017e627ce1ddfe4238355d3a30b772c
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
