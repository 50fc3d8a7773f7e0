#!/usr/bin/env bash
# Installs NVIDIA's compilers from pinned wheels of PyPI into a folder (550 MB), for machines without a CUDA toolkit:
#   scripts/cuda-toolchain.sh DIR
# The tests find them with GATERNET_CUDA_TOOLCHAIN=DIR, the library with GATERNET_NVRTC=DIR/lib/libnvrtc.so.13.
set -euo pipefail
[ $# -eq 1 ] || { sed -n '2,4p' "$0"; exit 2; }
command -v python3 >/dev/null || { echo "python3 is missing"; exit 1; }

mkdir -p "$1"
folder=$(cd "$1" && pwd)
# 13.0, not later: code of a later compiler may need a later driver.
wheels="nvidia-cuda-nvcc==13.0.88 nvidia-nvvm==13.0.88 nvidia-cuda-crt==13.0.88 nvidia-cuda-nvrtc==13.0.88
  nvidia-cuda-runtime==13.0.96 nvidia-cuda-cccl==13.0.85"
# Both exist from 13.2 on only, and read what 13.0 writes.
readers="nvidia-cuda-cuobjdump==13.2.51 nvidia-cuda-nvdisasm==13.2.51"
python3 -m venv "$folder/python"
# shellcheck disable=SC2086
"$folder/python/bin/pip" install --quiet --disable-pip-version-check $wheels
# shellcheck disable=SC2086
"$folder/python/bin/pip" install --quiet --disable-pip-version-check --no-deps $readers
toolkit=$(echo "$folder"/python/lib/python3.*/site-packages/nvidia/cu13)
for part in bin include lib nvvm; do ln -sfn "$toolkit/$part" "$folder/$part"; done
"$folder/bin/nvcc" --version | tail -2
