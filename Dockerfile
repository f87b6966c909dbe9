# xattr-cli in a container; nothing is downloaded when it runs.
#
#   docker build -t xattr-cli .
#   docker build -t xattr-cli:cuda --build-arg TORCH_INDEX=https://download.pytorch.org/whl/cu128 .
#   docker run --rm -v "$PWD:/work" xattr-cli run job.yaml
#   docker run --rm --gpus all --user "$(id -u):$(id -g)" -v "$PWD:/work" xattr-cli:cuda run job.yaml
#
# EXTRAS names optional packages, such as "tables,transformers"; see `xattr-cli checks`.

ARG PYTHON_VERSION=3.11

FROM python:${PYTHON_VERSION}-slim AS wheel
WORKDIR /source
COPY pyproject.toml README.md LICENSE ./
COPY xattr_cli ./xattr_cli
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /wheels .

FROM python:${PYTHON_VERSION}-slim
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
ARG EXTRAS=tables,builtin,safetensors,transformers,xarray
COPY --from=wheel /wheels /wheels
COPY constraints.txt /wheels/
# versions that the tests have passed with; torch first, from the index that has the wheels for the device; it is then there, and not fetched again
RUN pip install --no-cache-dir -c /wheels/constraints.txt --index-url "${TORCH_INDEX}" torch torchvision \
    && pip install --no-cache-dir -c /wheels/constraints.txt "$(echo /wheels/*.whl)[${EXTRAS}]" \
    && rm -rf /wheels \
    && useradd --uid 1000 --create-home xattr
USER 1000
# caches of hashes and of fonts, for users that have no home here
ENV XDG_CACHE_HOME=/tmp/cache MPLCONFIGDIR=/tmp/cache/matplotlib
WORKDIR /work
# signals reach the command itself: SIGTERM ends a run with 75, and it goes on where it was
ENTRYPOINT ["xattr-cli"]
CMD ["--help"]
