#!/usr/bin/env bash
# Installs NVIDIA's CUDA compilers (nvcc, NVRTC, cuobjdump, nvdisasm) from PyPI into a folder. No GPU and no driver are needed.
#
#     scripts/cuda-toolchain.sh [DIR]       DIR: target/cuda-toolchain if not given
#
# Afterwards DIR/bin/nvcc compiles; DIR/lib/libnvrtc.so.13 is what GATERNET_NVRTC may name, DIR what GATERNET_CUDA_TOOLCHAIN
# may. 200 MB are downloaded and 500 MB kept. A folder that holds these versions already is only checked.
set -euo pipefail

# CUDA 13.0, which drivers from 580 on can load. The last two exist from 13.2 on and read what 13.0 wrote.
packages=(
  nvidia-cuda-nvcc==13.0.88
  nvidia-nvvm==13.0.88
  nvidia-cuda-crt==13.0.88
  nvidia-cuda-nvrtc==13.0.88
  nvidia-cuda-runtime==13.0.96
  nvidia-cuda-cccl==13.0.85
  nvidia-cuda-cuobjdump==13.2.51
  nvidia-cuda-nvdisasm==13.2.51
)

fail() { echo "cuda-toolchain.sh: $*" >&2; exit 1; }

[ $# -le 1 ] || fail "expected at most one argument, the folder to install into"
target=${CARGO_TARGET_DIR:-"$(dirname "$0")/../target"}
dir=${1:-$target/cuda-toolchain}
case "$(uname -s)-$(uname -m)" in
  Linux-x86_64 | Linux-aarch64) ;;
  *) fail "NVIDIA publishes these wheels for Linux on x86_64 and aarch64, this is $(uname -sm)" ;;
esac
mkdir -p "$dir"
dir=$(cd "$dir" && pwd)

# Compiles a kernel with what is in folder $1 and reads the result back.
check() {
  local bin=$1/bin lib=$1/lib file work
  for file in "$bin"/{nvcc,ptxas,cuobjdump,nvdisasm} "$lib"/{libnvrtc.so.13,libnvrtc-builtins.so.13.0}; do
    [ -e "$file" ] || { echo "$file is missing"; return 1; }
  done
  work=$(mktemp -d)
  echo 'extern "C" __global__ void add(float* a, float b) { a[threadIdx.x] += b; }' >"$work/add.cu"
  local status=0
  { "$bin/nvcc" -cubin -arch=sm_90a -o "$work/add.cubin" "$work/add.cu" &&
    PATH=$bin:$PATH "$bin/cuobjdump" --dump-resource-usage "$work/add.cubin" | grep 'REG:' >/dev/null &&
    "$bin/nvdisasm" "$work/add.cubin" | grep 'FADD' >/dev/null; } 2>&1 || status=1
  rm -r "$work"
  [ $status = 0 ] || echo "the compilers in $bin do not work"
  return $status
}

installed=$dir/packages.txt
if [ -f "$installed" ] && [ "$(cat "$installed")" = "${packages[*]}" ]; then
  check "$dir" || fail "delete $dir and run this again"
  echo "CUDA toolchain already in $dir"
  exit 0
fi

[ -f "$installed" ] || [ -z "$(ls -A "$dir")" ] || fail "$dir holds something else; name another folder"
echo "incomplete" >"$installed"

# Installed beside its place and moved there, so that a broken download leaves nothing behind.
partial=$(mktemp -d "$dir/partial.XXXXXX")
trap 'rm -rf "$partial"' EXIT
if python3 -m pip --version >/dev/null 2>&1; then
  installer=(python3 -m pip install --disable-pip-version-check --root-user-action=ignore --quiet)
elif command -v uv >/dev/null; then
  installer=(uv pip install --quiet)
else
  fail "python3 with pip, or uv, is needed (Debian: apt-get install python3-pip)"
fi
"${installer[@]}" --no-deps --only-binary=:all: --target "$partial" "${packages[@]}" || fail "the packages could not be installed"
check "$partial/nvidia/cu13" || fail "the packages do not hold what is expected of them"
for part in bin include lib nvvm; do
  rm -rf "${dir:?}/$part"
  mv "$partial/nvidia/cu13/$part" "$dir/$part"
done
echo "${packages[*]}" >"$installed"
echo "CUDA toolchain installed in $dir"
