# Fine-tunes a model, and exports it.
ARG BASE=modelmill/model:0.1.0
FROM ${BASE}

USER root
ARG FLAVOR=
# What the shared image already holds is not installed again.
COPY docker/requirements/fine-tuning${FLAVOR}.txt /opt/requirements/
RUN pip install --no-cache-dir --require-hashes --no-deps --requirement /opt/requirements/fine-tuning${FLAVOR}.txt
COPY modelmill modelmill/
COPY components/__init__.py components/
COPY components/fine_tuning components/fine_tuning/

ARG IMAGE=modelmill/fine-tuning:0.1.0
ARG VERSION=0.1.0
ARG REVISION=unknown
ENV MODELMILL_IMAGE=${IMAGE}
LABEL org.opencontainers.image.title="Modelmill fine-tuning" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
USER 10001:10001
