# nearframe in a container: build the wheel, install it with pinned dependencies, run as nobody in particular.
FROM debian:bookworm-slim AS build
RUN apt-get update && apt-get install -y --no-install-recommends python3 python3-venv && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY requirements requirements
RUN python3 -m venv /opt/nearframe \
 && /opt/nearframe/bin/pip install --no-cache-dir --require-hashes --no-deps -r requirements/run.lock \
 && python3 -m venv /opt/build \
 && /opt/build/bin/pip install --no-cache-dir --require-hashes --no-deps -r requirements/dev.lock
COPY . .
RUN /opt/build/bin/python -m build --wheel --no-isolation --outdir /tmp/dist \
 && /opt/nearframe/bin/pip install --no-cache-dir --no-deps /tmp/dist/*.whl

FROM debian:bookworm-slim
RUN apt-get update && apt-get install -y --no-install-recommends python3 && rm -rf /var/lib/apt/lists/* \
 && useradd --system --uid 10042 --home-dir /var/lib/nearframe --create-home nearframe
COPY --from=build /opt/nearframe /opt/nearframe
ENV PATH=/opt/nearframe/bin:$PATH NEARFRAME_HOME=/var/lib/nearframe NEARFRAME_LOG_FORMAT=json
USER nearframe
VOLUME /var/lib/nearframe
HEALTHCHECK --interval=10s --timeout=3s --start-period=20s \
  CMD python3 -c "import urllib.request as u; u.urlopen('http://127.0.0.1:8042/healthz', timeout=2)"
# Until access control lands a node listens on its own machine only: share the host's network
# (docker run --network host), or the network of the container that asks.
ENTRYPOINT ["nearframe"]
CMD ["origin", "--insecure"]
