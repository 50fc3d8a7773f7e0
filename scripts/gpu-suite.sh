#!/usr/bin/env bash
# Tests and measurements for a machine with an NVIDIA GPU that has neither Rust nor a CUDA toolkit nor a network.
#
#     scripts/gpu-suite.sh build DIR             makes the folder DIR here; no GPU is needed
#     scripts/gpu-suite.sh check DIR [OPTION...] runs a copy of it here on the emulator, to try the suite itself;
#                                                options are those of DIR/run.sh
#
# Copied to that machine, DIR/run.sh does the rest; DIR/run.sh --help says what. The machine needs the driver, glibc of the
# age of this machine's or later and the processor's instructions that this machine has.
# To build: the toolchain of scripts/cuda-toolchain.sh, which is installed if need be, g++, for the emulator, and python3.
set -euo pipefail

limit_mib=60
fail() { echo "gpu-suite.sh: $*" >&2; exit 1; }

[ $# -ge 2 ] || fail "expected: build DIR, or check DIR"
command=$1
dir=$2
shift 2
root=$(cd "$(dirname "$0")/.." && pwd)
target=$(cd "$root" && cargo metadata --no-deps --format-version 1 | grep -o '"target_directory":"[^"]*"' | cut -d'"' -f4)

# Builds with cargo arguments $@ and copies the executables to bin/: a test program by the name of its package, an example
# by its own.
programs() {
  local messages artifact executable name
  messages=$(cargo "$@" --release --message-format=json)
  while read -r artifact; do
    executable=$(grep -o '"executable":"[^"]*"' <<<"$artifact" | cut -d'"' -f4)
    case $artifact in
      *'"kind":["test"]'*) name=tests/$(sed -E 's/.*"manifest_path":"[^"]*\/([^"\/]+)\/Cargo.toml".*/\1/' <<<"$artifact") ;;
      *) name=$(basename "$executable") ;;
    esac
    cp "$executable" "$dir/bin/$name"
    strip "$dir/bin/$name"
  done < <(grep '"executable":"' <<<"$messages")
}

# The kernels of the instructions, compiled, and what the emulator says they compute.
conformance() {
  local sources=gaternet-kernels/tests/cuda/conformance toolchain
  toolchain=${GATERNET_CUDA_TOOLCHAIN:-$target/cuda-toolchain}
  nvcc() { "$toolchain/bin/nvcc" -std=c++17 -I kernels-cu "$@"; }
  mkdir -p "$dir/conformance"
  nvcc -cubin -arch=sm_80 -o "$dir/conformance/conformance.sm_80.cubin" $sources/conformance.cu
  nvcc -cubin -arch=sm_90a -o "$dir/conformance/conformance.sm_90a.cubin" $sources/conformance.cu
  nvcc -ptx -arch=compute_80 -o "$dir/conformance/conformance.compute_80.ptx" $sources/conformance.cu
  nvcc -cubin -arch=sm_90a -o "$dir/conformance/conformance90.sm_90a.cubin" $sources/conformance90.cu
  (cd gaternet-kernels && GATERNET_CUDA='' GATERNET_CONFORMANCE=$dir/conformance \
    "$dir/bin/tests/gaternet-kernels" conformance:: >/dev/null) || fail "the emulator does not run"
  [ -e "$dir/conformance/mma.bits" ] || fail "the emulator does not run: g++ is needed"
}

build() {
  mkdir -p "$dir"
  dir=$(cd "$dir" && pwd)
  [ -e "$dir/run.sh" ] || [ -z "$(ls -A "$dir")" ] || fail "$dir holds something else; name another folder"
  cd "$root"
  rm -rf "${dir:?}"/{bin,cubins,conformance,bench}
  mkdir -p "$dir/bin/tests" "$dir/bench"

  scripts/build-cubins.sh "$dir/cubins" >/dev/null
  programs test --no-run --workspace --all-features --test cuda
  programs build -p gaternet --features cuda --example conv2d_cuda --example train_cifar --example evaluate
  conformance
  cp scripts/gpu-suite/run.sh "$dir/run.sh"
  cp tools/conv_ratios.py "$dir/bench/"
  # What measures cuDNN lies beside the repository; without it nothing is compared.
  if [ -e ../shared/bench/peers_cuda.py ]; then
    cp ../shared/bench/{peers_cuda,networks,shapes}.py "$dir/bench/"
  else
    echo "gpu-suite.sh: no ../shared/bench/peers_cuda.py, so cuDNN will not be measured" >&2
  fi
  git describe --always --dirty --abbrev=12 >"$dir/commit"

  local mib
  mib=$(($(du -sk "$dir"/{bin,cubins,conformance,bench} | awk '{ kib += $1 } END { print kib }') / 1024 + 1))
  [ "$mib" -le "$limit_mib" ] || fail "$dir has $mib MiB, more than $limit_mib"
  echo "$dir: $mib MiB"
}

# The emulator does not run machine code: its own compiler and its own images take the place of the cubins.
check() {
  local driver compiler image
  driver=$(find "$target/tmp/cuda-emulator" -name libcuda.so -printf '%T@ %h\n' | sort -n | tail -1 | cut -d' ' -f2)
  compiler=$(find "$target/tmp/cuda-emulator" -name libnvrtc.so.13 -printf '%T@ %p\n' | sort -n | tail -1 | cut -d' ' -f2)
  [ -n "$driver" ] && [ -n "$compiler" ] || fail "no emulator in $target/tmp: build first"
  copy=$(mktemp -d)
  trap 'rm -rf "$copy"' EXIT
  cp -r "$dir"/{run.sh,commit,bin,conformance,bench} "$copy"
  mkdir "$copy/cubins"
  for image in "$copy"/conformance/*.cubin; do
    printf '\177ELF EMULATED %s.cu' "$(basename "$image" | cut -d. -f1)" >"$image"
  done
  LD_LIBRARY_PATH=$driver GATERNET_NVRTC=$compiler GATERNET_CACHE=$copy/cache "$copy/run.sh" --quick "$@"
}

case $command in
  build) [ $# = 0 ] || fail "expected one folder"; build ;;
  check) check "$@" ;;
  *) fail "unknown command $command" ;;
esac
