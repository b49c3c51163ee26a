# What all images share: Python, the packages that every step needs, a user who is not root, and a scratch folder.
ARG BASE_IMAGE=python:3.11-slim-bookworm@sha256:a36c24f9cbdf4fd0f52d67f0823eeac19c2028c637cecc392d97f980d4fec56b
FROM ${BASE_IMAGE}

RUN groupadd --gid 10001 modelmill \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /tmp --shell /usr/sbin/nologin modelmill \
    && python3 -m venv /opt/venv

# The root file system is mounted read-only: all that is written goes to /tmp.
ENV PATH=/opt/venv/bin:/usr/local/bin:/usr/bin:/bin \
    PYTHONPATH=/app \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    HOME=/tmp \
    TMPDIR=/tmp
WORKDIR /app
COPY docker/requirements/base.txt /opt/requirements/
RUN pip install --no-cache-dir --require-hashes --no-deps --requirement /opt/requirements/base.txt

LABEL org.opencontainers.image.licenses="Apache-2.0"
USER 10001:10001
