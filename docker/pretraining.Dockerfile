# Pretrains a model.
ARG BASE=modelmill/model:0.1.0
FROM ${BASE}

COPY modelmill modelmill/
COPY components/__init__.py components/
COPY components/pretraining components/pretraining/

ARG IMAGE=modelmill/pretraining:0.1.0
ARG VERSION=0.1.0
ARG REVISION=unknown
ENV MODELMILL_IMAGE=${IMAGE}
LABEL org.opencontainers.image.title="Modelmill pretraining" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
USER 10001:10001
