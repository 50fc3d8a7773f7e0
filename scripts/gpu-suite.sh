#!/usr/bin/env bash
# Tests and measurements for a machine with an NVIDIA GPU that has neither Rust nor a CUDA toolkit nor a network.
#
#     scripts/gpu-suite.sh build DIR
#
# makes the folder DIR here, without a GPU. Copied there, DIR/run.sh does the rest; DIR/run.sh --help says what. The machine
# needs the driver, glibc of the age of this machine's or later and, for the throughput of x86-64, what this machine has too.
set -euo pipefail

limit_mib=60
fail() { echo "gpu-suite.sh: $*" >&2; exit 1; }

[ $# = 2 ] && [ "$1" = build ] || fail "expected: build DIR"
[ ! -e "$2" ] || [ -z "$(ls -A "$2")" ] || [ -e "$2/run.sh" ] || fail "$2 holds something else; name another folder"
mkdir -p "$2"
dir=$(cd "$2" && pwd)
root=$(cd "$(dirname "$0")/.." && pwd)
cd "$root"
rm -rf "$dir/bin" "$dir/cubins"
mkdir -p "$dir/bin"

# Builds with cargo arguments $@ and copies the executables, without their symbols for debuggers, to bin/.
build() {
  local messages executable name
  messages=$(cargo "$@" --release --message-format=json)
  for executable in $(grep -o '"executable":"[^"]*"' <<<"$messages" | cut -d'"' -f4); do
    name=$(basename "$executable" | sed -E 's/-[0-9a-f]{16}$//')
    cp "$executable" "$dir/bin/$name"
    strip --strip-debug "$dir/bin/$name"
  done
}

build test --no-run -p gaternet-kernels --features cuda --lib --test cuda
build build -p gaternet --example conv_throughput --example train_cifar --example evaluate
scripts/build-cubins.sh "$dir/cubins" >/dev/null
cp scripts/gpu-suite/run.sh "$dir/run.sh"
git describe --always --dirty --abbrev=12 >"$dir/commit"

mib=$(($(du -sk "$dir/bin" "$dir/cubins" | awk '{ kib += $1 } END { print kib }') / 1024 + 1))
[ "$mib" -le "$limit_mib" ] || fail "$dir has $mib MiB, more than $limit_mib"
echo "$dir: $mib MiB"
