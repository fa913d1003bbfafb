# The web page in a container. demo/README.md says how to run it, alone or behind nginx.
#   docker build -t avsr . && docker run --rm --read-only --tmpfs /tmp:size=6g -p 127.0.0.1:7860:7860 avsr
FROM python:3.11-slim-bookworm

# What opencv loads, for the windows that nobody opens here.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends libgl1 libglib2.0-0 \
    && rm -rf /var/lib/apt/lists/*

WORKDIR /app
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PYTHONUNBUFFERED=1

# The CPU build; for a GPU: --build-arg TORCH_INDEX=https://download.pytorch.org/whl/cu128
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
COPY requirements.lock ./
RUN pip install --index-url "$TORCH_INDEX" "$(grep ^torch== requirements.lock)"
COPY pyproject.toml README.md LICENSE ./
COPY avsr avsr
COPY demo demo
RUN pip install --constraint requirements.lock --editable '.[demo]' \
    && useradd --create-home --uid 1000 avsr

USER avsr
# Uploads and caches go where even a read-only container can write.
ENV HOME=/tmp MPLCONFIGDIR=/tmp/matplotlib
EXPOSE 7860
HEALTHCHECK --start-period=60s --interval=30s --timeout=5s \
    CMD ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:7860/health', timeout=4)"]
ENTRYPOINT ["avsr", "demo", "--host", "0.0.0.0", "--port", "7860"]
