# The API and the migrations: HTTP and SQL, no torch. The build context is the project root.
# BASE: any image with Python 3.11 or newer (python3, venv) and Debian's user tools.
ARG BASE=python:3.11-slim-bookworm

FROM ${BASE} AS build
# A constraints*.txt of the project root, to pin what this deployment was tested with.
ARG CONSTRAINTS=constraints.txt
WORKDIR /src
COPY pyproject.toml README.md constraints*.txt ./
COPY services services
COPY workers workers
RUN python3 -m venv /opt/crossfade \
    && /opt/crossfade/bin/pip install --no-cache-dir --constraint "${CONSTRAINTS}" ".[api]"
# A dependency that brings torch in would add gigabytes and an attack surface that HTTP has no use for.
RUN /opt/crossfade/bin/python -c "from importlib.util import find_spec; \
heavy = [name for name in ('torch', 'numpy', 'safetensors') if find_spec(name)]; \
assert not heavy, f'the API image must not hold {heavy}'"

FROM ${BASE}
# The folders give fresh volumes their owner.
RUN useradd --uid 10001 --user-group --no-create-home --shell /usr/sbin/nologin crossfade \
    && install --directory --owner 10001 --group 10001 /srv/outputs /srv/scratch
COPY --from=build /opt/crossfade /opt/crossfade
ENV PATH=/opt/crossfade/bin:${PATH} \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    HF_HOME=/tmp/huggingface \
    CROSSFADE_API_PORT=8000
WORKDIR /srv
USER 10001:10001
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=5s --start-period=20s CMD ["python", "-c", \
    "import os, urllib.request; urllib.request.urlopen(f'http://127.0.0.1:{os.environ[\"CROSSFADE_API_PORT\"]}/healthz', timeout=4)"]
CMD ["python", "-m", "crossfade_api"]
