# One image for every process: MODULES says which modules one hosts, `node dist/src/migrate.js` brings its database up to date.

FROM node:22-bookworm-slim AS build
WORKDIR /app
# For better-sqlite3 where it has no prebuilt binary for this system; none of it gets into the image.
RUN apt-get update \
  && apt-get install -y --no-install-recommends python3 make g++ \
  && rm -rf /var/lib/apt/lists/*
COPY package.json package-lock.json ./
RUN npm ci --no-audit --no-fund
COPY nest-cli.json tsconfig.json tsconfig.build.json ./
COPY src src
COPY migrations migrations
RUN npm run build && npm prune --omit=dev --no-audit --no-fund

FROM node:22-bookworm-slim
ENV NODE_ENV=production
WORKDIR /app
COPY --from=build /app/package.json ./
COPY --from=build /app/node_modules node_modules
COPY --from=build /app/dist dist
# `node`, by its number: Kubernetes can't tell that a name isn't root. It owns nothing here and writes nothing.
USER 1000:1000
EXPOSE 3000 8081
STOPSIGNAL SIGTERM
# No shell and no npm in between: the signal is for the process that knows how to end.
CMD ["node", "dist/src/main.js"]
