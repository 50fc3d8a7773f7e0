#!/usr/bin/env bash
# Compiles the CUDA kernels for machines without NVRTC; needs no GPU:
#   scripts/build-cubins.sh TOOLCHAIN DIR [ARCHITECTURE...]
# TOOLCHAIN is a folder of scripts/cuda-toolchain.sh. Where DIR is named in GATERNET_CUBINS, or lies beside the program
# as `cubins`, its files are used. They are for exactly these sources: after a change they are no longer found.
set -euo pipefail
[ $# -ge 2 ] || { sed -n '2,5p' "$0"; exit 2; }
toolchain=$(cd "$1" && pwd)
mkdir -p "$2"
folder=$(cd "$2" && pwd)
shift 2
# PTX for 8.0 is what the driver of any later GPU can compile.
[ $# -gt 0 ] || set -- sm_80 sm_90 sm_90a sm_100 compute_80
cd "$(dirname "$0")/.."
GATERNET_NVRTC="$toolchain/lib/libnvrtc.so.13" \
  cargo run --quiet --release -p gaternet-kernels --features cuda --example build_cubins -- "$folder" "$@"
