# The image of the operator: `docker build --tag locus-operator .` One image for controller and webhook.
#
# BASE has Python 3.11 or later as `python3`, with venv and CA certificates. Releases pin it by digest; so should you:
#   --build-arg BASE=python:3.11-slim-bookworm@sha256:...
ARG BASE=python:3.11-slim-bookworm

FROM ${BASE} AS build
# What `pip install "locus-memory[...]"` gets. All provisioners but that of OCI Object Storage, whose SDK has half a
# gigabyte: whoever stores there adds it, --build-arg EXTRAS=operator,oracle,opensearch,http,oci
ARG EXTRAS=operator,oracle,opensearch,http
# Of the commit that is built, for files and SBOM: the same commit gives the same files.
ARG SOURCE_DATE_EPOCH=0
ARG VERSION=
ENV PIP_CONSTRAINT=/source/constraints.txt \
    PIP_BUILD_CONSTRAINT=/source/constraints.txt \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_NO_CACHE_DIR=1 \
    PYTHONHASHSEED=0
WORKDIR /source
COPY constraints.txt pyproject.toml LICENSE README.md ./
COPY locus_memory locus_memory
COPY operator operator
COPY hack/sbom.py hack/sbom.py
# A mirror of PyPI is a build secret, for its address may hold a password: --secret id=pip.conf,src=pip.conf
# Wheels only: what needs a compiler shall fail here and not be compiled. pip itself stays behind.
RUN --mount=type=secret,id=pip.conf,target=/etc/pip.conf \
    python3 -m venv --without-pip /opt/locus && \
    python3 -m venv /tmp/installer && \
    /tmp/installer/bin/pip --python /opt/locus/bin/python install --no-compile --only-binary :all: ".[${EXTRAS}]"
# Compiled by content: the time of a file says nothing here, and a read-only file system could keep nothing.
RUN /opt/locus/bin/python -m compileall -q --invalidation-mode unchecked-hash /opt/locus/lib && \
    mkdir /opt/locus/share && \
    /opt/locus/bin/python hack/sbom.py --name locus-operator --version "${VERSION}" > /opt/locus/share/sbom.cdx.json && \
    chmod -R u=rwX,go=rX /opt/locus && \
    find /opt/locus -exec touch --no-dereference --date="@${SOURCE_DATE_EPOCH}" {} +

FROM ${BASE}
# Nothing installs packages at run time, and scanners report what could.
RUN rm -rf /usr/local/lib/python3*/site-packages/* /usr/local/lib/python3*/ensurepip /usr/local/bin/pip*
COPY --from=build /opt/locus /opt/locus
# Whatever uid it runs as, that has no home of its own.
ENV HOME=/tmp \
    PATH=/opt/locus/bin:/usr/local/bin:/usr/bin:/bin \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
USER 65532:65532
EXPOSE 8080 8081 9443
# For Docker and Podman; Kubernetes asks the probes of the chart.
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s CMD ["python", "-m", "locus_operator.health_check"]
ENTRYPOINT ["locus-operator"]
CMD ["--help"]
# Last, since they change with each commit.
ARG BASE
ARG BASE_DIGEST=
ARG REVISION=
ARG SOURCE=
ARG VERSION=
LABEL org.opencontainers.image.title="locus-operator" \
      org.opencontainers.image.description="Provisions storage for the checkpoints of AI agents" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.source="${SOURCE}" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.base.name="${BASE}" \
      org.opencontainers.image.base.digest="${BASE_DIGEST}"
