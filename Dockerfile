# likewise serve on a CPU, for models that `likewise export` wrote (model.onnx): without torch, some 250 MB.
#   docker build --tag likewise .
#   docker run --read-only --tmpfs /tmp --volume ./data:/data --publish 127.0.0.1:8000:8000 likewise \
#     /data/birds.gallery --model /data/model.onnx --token-file /data/tokens.toml
FROM python:3.11-slim AS build
ENV VIRTUAL_ENV=/opt/likewise
ENV PATH=/opt/likewise/bin:$PATH
WORKDIR /source
RUN python -m venv "$VIRTUAL_ENV"
COPY constraints.txt pyproject.toml README.md LICENSE ./
# the packages that serving an ONNX model imports; torch and what training needs are left out, hence --no-deps below
RUN pip install --no-cache-dir --constraint constraints.txt numpy pillow typer rich onnxruntime fastapi uvicorn \
    python-multipart prometheus-client "psycopg[binary]"
COPY src ./src
RUN pip install --no-cache-dir --no-deps .
RUN likewise serve --help > /dev/null

FROM python:3.11-slim
COPY --from=build /opt/likewise /opt/likewise
ENV PATH=/opt/likewise/bin:$PATH PYTHONDONTWRITEBYTECODE=1 HOME=/tmp
# nobody of this number exists outside either; galleries and their folder have to belong to it
USER 10001:10001
WORKDIR /data
EXPOSE 8000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=15s --timeout=6s --start-period=60s \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/v1/health', timeout=5)"]
ENTRYPOINT ["likewise", "serve", "--host", "0.0.0.0", "--port", "8000"]
