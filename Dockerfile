# docker build -t collab . && docker run -p 1234:1234 -v collab:/data collab
# tests/test_container.py does without an engine what this file says.

FROM node:22-alpine3.22 AS console
WORKDIR /console
COPY collab/console/package.json collab/console/package-lock.json collab/console/.npmrc ./
RUN npm ci
COPY collab/console ./
RUN npm run build

FROM python:3.13-alpine3.22 AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_NO_CACHE_DIR=1 \
    PIP_ROOT_USER_ACTION=ignore
RUN python -m venv /opt/collab
WORKDIR /src
COPY requirements.lock ./
RUN /opt/collab/bin/pip install --require-hashes --only-binary :all: -r requirements.lock
COPY pyproject.toml README.md LICENSE ./
COPY collab ./collab
COPY --from=console /console/dist ./collab/console/dist
RUN pip wheel --no-deps --wheel-dir /dist . \
    && /opt/collab/bin/pip install --no-deps --no-index /dist/*.whl

FROM python:3.13-alpine3.22
LABEL org.opencontainers.image.title="collab" \
      org.opencontainers.image.description="A collaboration server for Yjs editors" \
      org.opencontainers.image.licenses="MIT"
COPY --from=build /opt/collab /opt/collab
RUN addgroup -g 10001 collab \
    && adduser -D -H -u 10001 -G collab collab \
    && install -d -o collab -g collab /data

# Defaults only: COLLAB_SERVER__HOST wins over WS_HOST, and no port is named here, so that WS_PORT is heard as well.
# The mode is for trying out, and the server says so when it starts. With keys set it refuses to be open: name the mode
# `jwt` or `webhook` then.
ENV PATH=/opt/collab/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    WS_HOST=0.0.0.0 \
    COLLAB_AUTH__MODE=open \
    COLLAB_STORE__URL=sqlite:////data/collab.db

USER 10001:10001
WORKDIR /data
VOLUME /data
EXPOSE 1234
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 CMD ["python", "-c", "\
import os, ssl, urllib.request as r; get = os.environ.get; \
tls = 's' * bool(get('COLLAB_SERVER__CERTFILE')); port = get('COLLAB_SERVER__PORT') or get('WS_PORT') or 1234; \
local = r.build_opener(r.ProxyHandler({}), r.HTTPSHandler(context=ssl._create_unverified_context())); \
local.open('http%s://127.0.0.1:%s/health' % (tls, port), timeout=4)"]
ENTRYPOINT ["collab"]
CMD ["serve"]
