#!/usr/bin/env bash
# Builds docs/ as a book in target/book, with the mdBook that is installed or one of its own.
set -euo pipefail
cd "$(dirname "$0")/.."

version=0.5.4
mdbook=target/mdbook/bin/mdbook
if command -v mdbook >/dev/null; then
  mdbook=mdbook
elif [ ! -x "$mdbook" ]; then
  cargo install mdbook --version $version --no-default-features --locked --root target/mdbook
fi
"$mdbook" build
