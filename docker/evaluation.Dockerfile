# Measures a model and compares it with the champion.
ARG BASE=modelmill/model:0.1.0
FROM ${BASE}

USER root
ARG FLAVOR=
# What the shared image already holds is not installed again.
COPY docker/requirements/evaluation${FLAVOR}.txt /opt/requirements/
RUN pip install --no-cache-dir --require-hashes --no-deps --requirement /opt/requirements/evaluation${FLAVOR}.txt
COPY modelmill modelmill/
COPY components/__init__.py components/
COPY components/evaluation components/evaluation/

ARG IMAGE=modelmill/evaluation:0.1.0
ARG VERSION=0.1.0
ARG REVISION=unknown
ENV MODELMILL_IMAGE=${IMAGE}
LABEL org.opencontainers.image.title="Modelmill evaluation" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
USER 10001:10001
