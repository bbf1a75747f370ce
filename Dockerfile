# Vesal's server on a CPU: `docker build -t vesal .`, then docs/clinic.md.
#
# The usual torch holds a GPU's libraries, some gigabytes; TORCH may name a wheel for the CPU (docs/clinic.md).

FROM node:20-bookworm-slim AS viewer
WORKDIR /build/viewer
COPY viewer/package.json viewer/package-lock.json viewer/.npmrc ./
RUN npm ci
COPY viewer ./
RUN npm run build

FROM python:3.11-slim-bookworm AS wheel
WORKDIR /build
COPY pyproject.toml hatch_build.py README.md LICENSE ./
COPY src ./src
COPY --from=viewer /build/src/vesal/serve/viewer_files ./src/vesal/serve/viewer_files
RUN pip wheel --no-deps --wheel-dir /wheels .

FROM python:3.11-slim-bookworm
ARG TORCH=
COPY constraints.txt /tmp/constraints.txt
COPY --from=wheel /wheels /tmp/wheels
RUN torch=$(grep '^torch==' /tmp/constraints.txt) \
    && pip install --no-cache-dir "${TORCH:-$torch}" \
    && pip install --no-cache-dir -c /tmp/constraints.txt "$(ls /tmp/wheels/vesal-*.whl)[serve,openvino]" \
    && rm -r /tmp/wheels /tmp/constraints.txt
# Nothing of the server runs as root; its jobs lie in a volume.
RUN useradd --create-home --uid 10001 vesal && install -d -o vesal -g vesal -m 700 /var/lib/vesal
USER vesal
ENV XDG_STATE_HOME=/var/lib/vesal XDG_CONFIG_HOME=/var/lib/vesal/config
VOLUME /var/lib/vesal
EXPOSE 8765
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s CMD \
    ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8765/health', timeout=4)"]
# Models are mounted at /models; the token comes in VESAL_TOKEN.
ENTRYPOINT ["vesal", "serve", "--host", "0.0.0.0"]
CMD ["/models/model.vesal"]
