#!/usr/bin/env bash
# Measures this library against other CPU inference engines, in turns, and prints Markdown tables.
#
#     scripts/compare-engines.sh [OPTION...]      --help says which
#
# The engines, of pinned versions, are installed from PyPI into target/engines.
set -euo pipefail

command -v python3 >/dev/null ||
  { echo "compare-engines.sh: python3 is missing" >&2; exit 1; }
# No caches beside the sources.
export PYTHONDONTWRITEBYTECODE=1
exec python3 "$(dirname "$0")/engines/compare.py" "$@"
