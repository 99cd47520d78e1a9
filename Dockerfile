# monai-e2e in a container: docs/container.md says how to build and run it. For research, not for diagnosis.
#   docker build -t monai-e2e .                               # CPU only
#   docker build -t monai-e2e:cuda --build-arg TORCH=cuda .   # NVIDIA GPUs
ARG PYTHON=3.11
FROM python:${PYTHON}-slim

# cpu: PyTorch's CPU build. cuda: PyPI's, which brings its own CUDA libraries; the host has the driver.
ARG TORCH=cpu
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PYTHONUNBUFFERED=1

WORKDIR /opt/monai-e2e
COPY pyproject.toml setup.py MANIFEST.in README.md LICENSE constraints.txt ./
COPY monai_e2e monai_e2e
COPY bundles bundles
RUN case "$TORCH" in \
        cpu) index="--extra-index-url https://download.pytorch.org/whl/cpu" ;; \
        cuda) index="" ;; \
        *) echo "TORCH=$TORCH: choose cpu or cuda" >&2; exit 1 ;; \
    esac \
    && pip install $index -c constraints.txt ".[compressed,dicom,excel,fast,lite,onnx]" \
    && rm -rf build ./*.egg-info

# Not root: what it writes into mounted folders belongs to a user.
RUN useradd --uid 1000 --create-home monai
USER monai
WORKDIR /home/monai
# A user of another number (docker run --user) has no home; caches go here.
ENV XDG_CACHE_HOME=/tmp/cache MONAI_DATA_DIRECTORY=/tmp/cache/monai-e2e MPLCONFIGDIR=/tmp/cache/matplotlib
ENTRYPOINT ["monai-e2e"]
CMD ["--help"]
