# The Celery worker with torch, for the merge queue and (by another command) the control queue. The build context is
# the project root. BASE: any image with Python 3.11 or newer (python3, venv) and Debian's user tools.
ARG BASE=python:3.11-slim-bookworm

FROM ${BASE} AS build
# A constraints*.txt of the project root. The default pins the torch release the tests run with; which build of it
# comes (CPU or CUDA) is the package index's choice, so a deployment for a given CUDA release brings its own file.
ARG CONSTRAINTS=constraints.txt
WORKDIR /src
COPY pyproject.toml README.md constraints*.txt ./
COPY services services
COPY workers workers
RUN python3 -m venv /opt/crossfade \
    && /opt/crossfade/bin/pip install --no-cache-dir --constraint "${CONSTRAINTS}" ".[worker]"

FROM ${BASE}
# The folders give fresh volumes their owner.
RUN useradd --uid 10001 --user-group --no-create-home --shell /usr/sbin/nologin crossfade \
    && install --directory --owner 10001 --group 10001 /srv/outputs /srv/scratch
COPY --from=build /opt/crossfade /opt/crossfade
# SIGTERM as SIGQUIT: Celery's soft shutdown, which gives a running unit back instead of waiting minutes for its end.
ENV PATH=/opt/crossfade/bin:${PATH} \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    HF_HOME=/tmp/huggingface \
    REMAP_SIGTERM=SIGQUIT
WORKDIR /srv
USER 10001:10001
# A dead worker is found by its expired lease; a ping over the broker would call a busy worker ill when Redis is.
HEALTHCHECK NONE
CMD ["celery", "-A", "crossfade_worker.celery_app", "worker", "--pool", "prefork", "--concurrency", "1", "-Q", "merge"]
