# Serves triggers: the command line, and the faces of the steps, which it compiles for a cluster. No torch.
ARG BASE=modelmill/base:0.1.0
FROM ${BASE}

USER root
# What the base already holds is not installed again.
COPY docker/requirements/trigger.txt /opt/requirements/
RUN pip install --no-cache-dir --require-hashes --no-deps --requirement /opt/requirements/trigger.txt
COPY modelmill modelmill/
COPY components components/
COPY pipelines pipelines/

ARG IMAGE=modelmill/trigger:0.1.0
ARG VERSION=0.1.0
ARG REVISION=unknown
ENV MODELMILL_IMAGE=${IMAGE}
LABEL org.opencontainers.image.title="Modelmill trigger service" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
USER 10001:10001
ENTRYPOINT ["python", "-m", "modelmill.pipelines.cli"]
