# One image for controllers, shardservers and the command line: `docker run ostraka controller …`, `server …`, `get …`.
ARG NODE_IMAGE=node:20-bookworm-slim

FROM ${NODE_IMAGE} AS build
# Finds what a build leaves behind: docker image prune --filter label=ostraka.stage=build
LABEL ostraka.stage=build
WORKDIR /app
COPY package.json package-lock.json .npmrc ./
RUN npm ci --ignore-scripts
COPY . .
# What runs needs no source: only what is left in this folder goes into the image.
RUN npm run build && npm prune --omit=dev --ignore-scripts \
 && find . -mindepth 1 -maxdepth 1 ! -name dist ! -name docker ! -name node_modules ! -name package.json ! -name LICENSE -exec rm -r {} + \
 && rm dist/.tsbuildinfo

FROM ${NODE_IMAGE}
# An id that no user of the host is likely to have; 1000 would be the first one there.
RUN groupadd --gid 10400 ostraka \
 && useradd --uid 10400 --gid ostraka --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin ostraka \
 && mkdir /var/lib/ostraka && chown ostraka:ostraka /var/lib/ostraka \
 && ln -s /app/dist/cli/main.js /usr/local/bin/ostraka
COPY --from=build /app /app
# The default pool of four threads is soon full of fsyncs; a lookup of a name must not wait behind them.
ENV NODE_ENV=production \
    UV_THREADPOOL_SIZE=8 \
    OSTRAKA_DATA=/var/lib/ostraka \
    OSTRAKA_HTTP=0.0.0.0:7430
USER ostraka
WORKDIR /var/lib/ostraka
VOLUME /var/lib/ostraka
# A server's readiness; a one-shot command ends before it is asked.
HEALTHCHECK --interval=5s --timeout=5s --start-period=120s --retries=3 CMD ["node", "/app/docker/ready.cjs"]
# Node itself is process 1: a server handles SIGTERM and SIGINT and starts no processes, so there is nothing to reap.
ENTRYPOINT ["node", "/app/dist/cli/main.js"]
CMD ["--help"]
