# Two images from one recipe:
#
#   docker build -t router-extproc .                        the service alone, a sidecar beside your Envoy (the default)
#   docker build -t router-extproc:envoy --target envoy .   the same with Envoy inside: `up` starts both
#
# Both run as user 65532, read router.yaml from /etc/router-extproc (mount the folder, so that a changed file is noticed)
# and write only to /var/lib/router-extproc; the rest of the filesystem may be read-only. Without a file the provider keys
# in the environment are used.
#
# Inside a container router.yaml must open what others shall reach: `listener: {address: 0.0.0.0}` and `auth` for clients, and
# `admin: {address: 0.0.0.0}` for Prometheus and for Kubernetes, which does not use HEALTHCHECK but
#   livenessProbe:  {httpGet: {path: /healthz, port: 9902}}
#   readinessProbe: {httpGet: {path: /readyz, port: 9902}}

ARG PYTHON_VERSION=3.12

# ── builder: wheels from the locks, with hashes ──────────────────────────────────────────────────────────────────────
FROM python:${PYTHON_VERSION}-slim-bookworm AS builder
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_INPUT=1
WORKDIR /source
COPY requirements/ requirements/
# Dependencies first: this layer is reused until a lock changes.
RUN python -m venv /opt/build \
 && /opt/build/bin/pip install --no-cache-dir --require-hashes -r requirements/build.lock \
 && python -m venv --without-pip /opt/router-extproc \
 && pip --python /opt/router-extproc/bin/python install --no-cache-dir --require-hashes -r requirements/runtime.lock
COPY LICENSE README.md CHANGELOG.md CONTRIBUTING.md pyproject.toml ./
COPY router_extproc/ router_extproc/
RUN /opt/build/bin/pip wheel --no-cache-dir --no-build-isolation --no-deps --wheel-dir /wheels . \
 && pip --python /opt/router-extproc/bin/python install --no-cache-dir --no-deps --no-index /wheels/*.whl

FROM builder AS builder-envoy
RUN pip --python /opt/router-extproc/bin/python install --no-cache-dir --require-hashes -r requirements/envoy.lock

# ── what both images share ───────────────────────────────────────────────────────────────────────────────────────────
FROM python:${PYTHON_VERSION}-slim-bookworm AS base
LABEL org.opencontainers.image.title="router-extproc" \
      org.opencontainers.image.description="An Envoy external-processing sidecar that routes LLM traffic" \
      org.opencontainers.image.licenses="Apache-2.0"
ENV PATH=/opt/router-extproc/bin:$PATH \
    PYTHONUNBUFFERED=1
RUN install -d -o 65532 -g 65532 /var/lib/router-extproc \
 && install -d /etc/router-extproc
WORKDIR /etc/router-extproc
USER 65532:65532
VOLUME ["/var/lib/router-extproc"]
# 9902: console, admin API, /metrics, /healthz, /readyz
EXPOSE 9902
# One interpreter start every ten seconds; plain urllib, since the image has no curl.
HEALTHCHECK --interval=10s --timeout=3s --start-period=20s --retries=3 \
  CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:9902/readyz', timeout=2)"]
ENTRYPOINT ["router-extproc"]

# ── Envoy included: `docker build --target envoy` ────────────────────────────────────────────────────────────────────
FROM base AS envoy
COPY --from=builder-envoy /opt/router-extproc /opt/router-extproc
# 10000: clients
EXPOSE 10000
CMD ["up", "--state", "/var/lib/router-extproc"]

# ── the sidecar, and the default target ──────────────────────────────────────────────────────────────────────────────
FROM base AS service
COPY --from=builder /opt/router-extproc /opt/router-extproc
CMD ["serve", "--state", "/var/lib/router-extproc"]
