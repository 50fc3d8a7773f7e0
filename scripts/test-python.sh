#!/usr/bin/env bash
# Makes a Python environment with what tests import: onnxruntime, and PyTorch for processors.
#
#     scripts/test-python.sh [DIR]       DIR: target/test-python if not given
#
# Afterwards DIR/bin/python is what GATERNET_PYTHON may name. PyTorch, 200 MB, comes from its own index, since the wheel
# of PyPI needs gigabytes of CUDA; where that index cannot be reached, the environment goes without. Status 1 if
# there is no onnxruntime either. What is there already is not installed again.
set -uo pipefail

[ $# -le 1 ] || { echo "test-python.sh: expected at most one argument, the folder to install into" >&2; exit 1; }
target=${CARGO_TARGET_DIR:-"$(dirname "$0")/../target"}
dir=${1:-$target/test-python}
python=$dir/bin/python

has() { "$python" -c "import $1" 2>/dev/null; }
install() {
  local seconds=$1
  shift
  timeout "$seconds" "$python" -m pip install --disable-pip-version-check --quiet --only-binary=:all: "$@"
}

[ -x "$python" ] || python3 -m venv "$dir" || exit 1
has "numpy, onnxruntime, safetensors" || install 300 numpy onnxruntime safetensors
has torch || install 300 --retries 0 --index-url https://download.pytorch.org/whl/cpu torch ||
  echo "test-python.sh: no PyTorch for processors" >&2
has "numpy, onnxruntime"
