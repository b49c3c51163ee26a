# What the three model steps share, so that torch is installed, stored and pulled once.
ARG BASE=modelmill/base:0.1.0
FROM ${BASE}

USER root
# "-gpu" takes the lock whose torch brings the CUDA libraries.
ARG FLAVOR=
# Where the CPU build of torch is; PyPI has only the one for CUDA.
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
COPY docker/requirements/model${FLAVOR}.txt /opt/requirements/
RUN pip install --no-cache-dir --require-hashes --no-deps --extra-index-url "${TORCH_INDEX}" \
    --requirement /opt/requirements/model${FLAVOR}.txt
ENV NVIDIA_DRIVER_CAPABILITIES=compute,utility
USER 10001:10001
