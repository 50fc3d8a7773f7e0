#!/usr/bin/env bash
# Compiles the CUDA kernels into a folder. A program that GATERNET_CUBINS tells of it, or that has it beside its executable
# by the name `cubins`, needs no NVRTC. No GPU and no driver are needed here.
#
#     scripts/build-cubins.sh OUT [ARCHITECTURE...]
#
# If none is given: sm_80 (all of compute capability 8), sm_90, sm_90a (H100, H200) and compute_80, PTX that drivers compile
# for what is newer.
#
# NVRTC is that of GATERNET_NVRTC, or that of scripts/cuda-toolchain.sh, which is run if need be.
set -euo pipefail

[[ ${1:--} != -* ]] || { echo "build-cubins.sh: expected OUT [ARCHITECTURE...]" >&2; exit 1; }
mkdir -p "$1"
out=$(cd "$1" && pwd)
shift
cd "$(dirname "$0")/.."

if [ -z "${GATERNET_NVRTC:-}" ]; then
  toolchain=${GATERNET_CUDA_TOOLCHAIN:-${CARGO_TARGET_DIR:-target}/cuda-toolchain}
  [ -e "$toolchain/lib/libnvrtc.so.13" ] || scripts/cuda-toolchain.sh "$toolchain" >&2
  GATERNET_NVRTC=$(cd "$toolchain" && pwd)/lib/libnvrtc.so.13
  export GATERNET_NVRTC
fi
cargo run --release --quiet -p gaternet-kernels --features cuda --example build_cubins -- "$out" "$@"
