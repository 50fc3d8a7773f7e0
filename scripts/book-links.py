#!/usr/bin/env python3
"""Makes the links of the book that leave docs/ ones to the repository, and fails on one to nothing.

mdBook runs it as a preprocessor (book.toml): `book-links.py supports RENDERER`, or the book as JSON
on standard input, to be written back.
"""

import json
import re
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LINK = re.compile(r"\]\(\s*(?![a-z]+:|#)([^)#\s]+)(#[^)\s]*)?\s*\)")


def rewritten(page, text, lost):
    """The text of a page, whose links to files outside the book go to the repository."""

    def replace(match):
        target, anchor = match[1], match[2] or ""
        file = (ROOT / "docs" / page.parent / target).resolve()
        if not file.exists():
            lost.append(f"docs/{page}: {target} is not there")
        if file.is_relative_to(ROOT / "docs"):
            return match[0]
        kind = "tree" if file.is_dir() else "blob"
        return f"]({REPOSITORY}/{kind}/main/{file.relative_to(ROOT)}{anchor})"

    return LINK.sub(replace, text)


def walk(items, lost):
    for item in items:
        chapter = item.get("Chapter") if isinstance(item, dict) else None
        if chapter is None:
            continue
        if chapter["path"]:
            page = Path(chapter["path"])
            chapter["content"] = rewritten(page, chapter["content"], lost)
        walk(chapter["sub_items"], lost)


if len(sys.argv) > 1:
    sys.exit(0 if sys.argv[1] == "supports" else f"unknown argument {sys.argv[1]}")
REPOSITORY = tomllib.loads((ROOT / "Cargo.toml").read_text())["workspace"]["package"]["repository"]
_, book = json.load(sys.stdin)
missing = []
walk(book.get("items", book.get("sections", [])), missing)
if missing:
    sys.exit("\n".join(missing))
json.dump(book, sys.stdout)
