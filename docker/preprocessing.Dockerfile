# Turns data into a corpus. No torch.
ARG BASE=modelmill/base:0.1.0
FROM ${BASE}

USER root
# What the base already holds is not installed again.
COPY docker/requirements/preprocessing.txt /opt/requirements/
RUN pip install --no-cache-dir --require-hashes --no-deps --requirement /opt/requirements/preprocessing.txt
COPY modelmill modelmill/
COPY components/__init__.py components/
COPY components/preprocessing components/preprocessing/

ARG IMAGE=modelmill/preprocessing:0.1.0
ARG VERSION=0.1.0
ARG REVISION=unknown
ENV MODELMILL_IMAGE=${IMAGE}
LABEL org.opencontainers.image.title="Modelmill preprocessing" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
USER 10001:10001
