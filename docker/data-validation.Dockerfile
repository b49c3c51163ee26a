# Holds data against its contract. No torch.
ARG BASE=modelmill/base:0.1.0
FROM ${BASE}

USER root
# What the base already holds is not installed again.
COPY docker/requirements/data-validation.txt /opt/requirements/
RUN pip install --no-cache-dir --require-hashes --no-deps --requirement /opt/requirements/data-validation.txt
COPY modelmill modelmill/
COPY components/__init__.py components/
COPY components/data_validation components/data_validation/

ARG IMAGE=modelmill/data-validation:0.1.0
ARG VERSION=0.1.0
ARG REVISION=unknown
ENV MODELMILL_IMAGE=${IMAGE}
LABEL org.opencontainers.image.title="Modelmill data validation" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
USER 10001:10001
