#!/usr/bin/env python3
"""Checks rules of the house that rustc and clippy do not know.

    scripts/check-house.py [--strict] [--list]

Errors, which end with status 1:

  circles    more than two files of a library, example or bench that import each other, directly
             or through others. A file imports another if it names an item that is defined there, in a `use` or in a path, whatever
             re-exports it. `mod` lines, re-exports of a module's own children, and code under
             #[cfg(test)] are no imports.
  path       #[path = ".."] that leaves the folder of its own example, test or bench
  main       an example whose main.rs is longer than 150 lines

Counted, and errors with --strict; --list names each place:

  columns    comments of Rust and prose of Markdown in lines over 100 columns, where no address or
             table is the reason
"""

import os
import re
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

COLUMNS = 100
MOST_IN_CIRCLE = 2
MAIN_LINES = 150
ROOT = Path(__file__).resolve().parent.parent
PACKAGES = [".", "gaternet-core", "gaternet-kernels", "gaternet-models"]

TOKEN = re.compile(r"r#[A-Za-z_]\w*|[A-Za-z_]\w*|::|[^\w\s]")
NOISE = re.compile(
    r"""//[^\n]*|/\*|b?r(?P<hash>\#*)"(?s:.*?)"(?P=hash)|[bc]?"(?:\\(?s:.)|[^"\\])*"
      |b?'(?:\\(?:u\{[^}]*\}|x..|.)|[^'\\\n])'|'[A-Za-z_]\w*""",
    re.X,
)
DEFINES = {"fn", "struct", "enum", "union", "trait", "type", "const", "static"}


def sources(suffix):
    """Files of this kind that git tracks or would."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", f"*{suffix}"]
    names = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    paths = (ROOT / name for name in sorted(set(names.split("\0"))) if name)
    return [path for path in paths if path.is_file() and not path.is_symlink()]


def shown(path):
    return os.path.relpath(path, ROOT)


def stripped(text):
    """The code of a file: comments, strings, characters and lifetimes are gone."""
    code, at = [], 0
    while found := NOISE.search(text, at):
        code.append(text[at : found.start()])
        at = found.end()
        if found[0] == "/*":
            depth = 1
            while depth and (mark := re.compile(r"/\*|\*/").search(text, at)):
                depth += 1 if mark[0] == "/*" else -1
                at = mark.end()
        code.append(" ")
    return "".join(code) + text[at:]


class Module:
    def __init__(self, file, parent, name, folder):
        self.file, self.parent, self.name = file, parent, name
        # Where the files of its children are.
        self.folder = folder
        self.children, self.items, self.macros = {}, set(), set()
        # (name here, path, whether it is a re-export); the name of a glob is "*".
        self.uses = []
        # Paths of two parts or more, and all other names.
        self.paths, self.names = set(), set()

    def within(self, other):
        return self is other or (self.parent is not None and self.parent.within(other))

    def root(self):
        return self.parent.root() if self.parent else self


class Reader:
    """Reads the modules of one target from its root file on."""

    def __init__(self, root):
        self.files = {}
        self.module = self.read(root, None, "crate", root.parent)

    def read(self, file, parent, name, folder):
        module = Module(file, parent, name, folder)
        self.files.setdefault(file, module)
        text = file.read_text()
        # Their values are strings, which are stripped.
        pattern = r'#\[path\s*=\s*"([^"]+)"\]\s*(?:#\[[^\]]*\]\s*)*(?:pub(?:\([^)]*\))?\s+)?mod\s+(\w+)'
        explicit = {name: path for path, name in re.findall(pattern, text)}
        self.block(TOKEN.findall(stripped(text)), module, explicit)
        return module

    def child_file(self, module, name, explicit):
        if name in explicit:
            return (module.file.parent / explicit[name]).resolve()
        for path in (module.folder / f"{name}.rs", module.folder / name / "mod.rs"):
            if path.is_file():
                return path
        return None

    def block(self, tokens, module, explicit):
        at, depth, test, public = 0, 0, False, False
        while at < len(tokens):
            token = tokens[at]
            if token == "#" and tokens[at + 1 : at + 2] and tokens[at + 1] in "[!":
                end = closing(tokens, tokens.index("[", at))
                attribute = tokens[at:end]
                test = test or ("cfg" in attribute and "test" in attribute and "not" not in attribute)
                at = end + 1
                continue
            if test and token not in ("pub", "(", ")"):
                # The item that is only in tests: up to its `;` or its closing brace.
                while at < len(tokens) and tokens[at] not in "{;":
                    at += 1
                at = closing(tokens, at) + 1 if at < len(tokens) and tokens[at] == "{" else at + 1
                test = public = False
                continue
            if token == "pub":
                public = True
                at = closing(tokens, at + 1) + 1 if tokens[at + 1] == "(" else at + 1
                continue
            if token == "mod" and depth == 0 and re.match(r"\w", tokens[at + 1]):
                name = tokens[at + 1]
                if tokens[at + 2] == ";":
                    file = self.child_file(module, name, explicit)
                    if file and file not in self.files:
                        inner = file.parent if file.name == "mod.rs" else file.parent / file.stem
                        module.children[name] = self.read(file, module, name, inner)
                    at += 3
                else:
                    end = closing(tokens, at + 2)
                    child = Module(module.file, module, name, module.folder / name)
                    module.children[name] = child
                    self.block(tokens[at + 3 : end], child, {})
                    at = end + 1
                public = False
                continue
            if token == "use":
                end = tokens.index(";", at)
                for name, path in tree(tokens[at + 1 : end]):
                    module.uses.append((name, path, public))
                at, public = end + 1, False
                continue
            if token == "macro_rules":
                module.items.add(tokens[at + 2])
                at, public = at + 3, False
                continue
            if depth == 0 and token in DEFINES and re.match(r"\w", tokens[at + 1]):
                if tokens[at + 1] not in DEFINES and tokens[at + 1] not in ("unsafe", "extern"):
                    module.items.add(tokens[at + 1])
                public = False
            if token in "{[(":
                depth += 1
            elif token in "}])":
                depth -= 1
            elif re.match(r"\w", token) and tokens[at - 1 : at] not in (["::"], ["."]):
                end = at + 1
                while tokens[end : end + 1] == ["::"] and re.match(r"\w", (tokens[end + 1 :] or [""])[0]):
                    end += 2
                path = tuple(tokens[at:end:2])
                (module.paths.add(path) if len(path) > 1 else module.names.add(token))
            at += 1


def closing(tokens, at):
    """Where the bracket that opens at `at` closes."""
    depth = 0
    for end in range(at, len(tokens)):
        if tokens[end] in "{[(":
            depth += 1
        elif tokens[end] in "}])":
            depth -= 1
            if depth == 0:
                return end
    return len(tokens) - 1


def tree(tokens, prefix=()):
    """The names and paths of what follows `use`."""
    path, at = list(prefix), 0
    while at < len(tokens):
        token = tokens[at]
        if token == "{":
            end, start, depth = closing(tokens, at), at + 1, 0
            for i in range(at + 1, end + 1):
                depth += (tokens[i] == "{") - (tokens[i] == "}" and i != end)
                if (tokens[i] == "," and depth == 0) or i == end:
                    yield from tree(tokens[start:i], tuple(path))
                    start = i + 1
            return
        if token == "*":
            yield "*", tuple(path)
            return
        if token == "as":
            yield tokens[at + 1], tuple(path)
            return
        if token != "::":
            path.append(token)
        at += 1
    if len(path) > len(prefix):
        if path[-1] == "self" and len(path) > 1:
            path.pop()
        yield path[-1], tuple(path)


def look_up(module, name, seen):
    """What `name` is in a module: a module, the file that defines an item, or None."""
    if (module, name) in seen:
        return None
    seen = seen | {(module, name)}
    if name in module.children:
        return module.children[name]
    if name in module.items:
        return module.file
    for here, path, _ in module.uses:
        if here == name and (found := resolve(module, path, seen)):
            return found
    for here, path, _ in module.uses:
        if here == "*":
            target = resolve(module, path, seen)
            if isinstance(target, Module) and (found := look_up(target, name, seen)):
                return found
    return None


def resolve(module, path, seen=frozenset()):
    here, rest = module, list(path)
    first = rest[0]
    if first in ("crate", "self", "super"):
        rest.pop(0)
        here = module.root() if first == "crate" else module
        if first == "super":
            here = module.parent
            while here and rest and rest[0] == "super":
                rest.pop(0)
                here = here.parent
    for name in rest:
        if not isinstance(here, Module):
            break
        here = look_up(here, name, seen)
    return here


def imports(root):
    """For each file of a target, the files it imports, with a name that says why."""
    reader = Reader(root)
    edges = defaultdict(dict)
    todo = [reader.module]
    while todo:
        module = todo.pop()
        todo.extend(module.children.values())

        def add(target, name):
            if isinstance(target, Path) and target != module.file:
                edges[module.file].setdefault(target, name)

        for name, path, public in module.uses:
            target = resolve(module, path)
            if name == "*" and isinstance(target, Module):
                for used in sorted(module.names | {path[0] for path in module.paths}):
                    if used not in module.items:
                        add(look_up(target, used, frozenset()), used)
                continue
            below = isinstance(target, Path) and any(
                target == file and other is not module and other.within(module)
                for file, other in reader.files.items()
            )
            if not (public and below):
                add(target, "::".join(path))
        for path in sorted(module.paths):
            add(resolve(module, path), "::".join(path))
    return edges


def components(edges):
    """Strongly connected sets of more than one file (Tarjan 1972)."""
    index, low, stack, found = {}, {}, [], []

    def visit(file):
        index[file] = low[file] = len(index)
        stack.append(file)
        for other in edges.get(file, {}):
            if other not in index:
                visit(other)
                low[file] = min(low[file], low[other])
            elif other in stack:
                low[file] = min(low[file], index[other])
        if low[file] == index[file]:
            at = stack.index(file)
            if len(stack) - at > 1:
                found.append(sorted(stack[at:]))
            del stack[at:]

    for file in sorted(edges):
        if file not in index:
            visit(file)
    return found


def shortest_circle(edges, files):
    """The shortest way from one of `files` back to itself."""
    best = None
    for start in sorted(files):
        ways, seen = [[start]], {start}
        while ways and not (best and len(ways[0]) >= len(best)):
            way = ways.pop(0)
            nexts = sorted(file for file in edges.get(way[-1], {}) if file in files)
            if start in nexts:
                best = way
                break
            ways.extend(way + [file] for file in nexts if file not in seen)
            seen.update(nexts)
    return best


def targets():
    """The root file of every library, example and bench; tests run each other where they plant faults."""
    for package in PACKAGES:
        folder = ROOT / package
        yield folder / "src/lib.rs"
        for kind in ("examples", "benches"):
            yield from sorted((folder / kind).glob("*.rs"))
            yield from sorted((folder / kind).glob("*/main.rs"))


def circles():
    for root in targets():
        if not root.is_file():
            continue
        edges = imports(root)
        for files in components(edges):
            if len(files) <= MOST_IN_CIRCLE:
                continue
            circle = shortest_circle(edges, set(files))
            lines = [f"circle of {len(files)} files in {shown(root)}: {', '.join(map(shown, files))}"]
            for file, other in zip(circle, circle[1:] + circle[:1]):
                lines.append(f"    {shown(file)} names {edges[file][other]} of {shown(other)}")
            yield "\n".join(lines)


def paths():
    for file in sources(".rs"):
        for number, line in enumerate(file.read_text().splitlines(), 1):
            if found := re.match(r'\s*#\[path = "([^"]+)"\]', line):
                parts = file.relative_to(ROOT).parts
                kinds = [i for i, part in enumerate(parts) if part in ("examples", "tests", "benches")]
                # A target is a folder below its kind, or shares the files beside it.
                own = ROOT.joinpath(*parts[: kinds[0] + 1]) if kinds else file.parent
                if kinds and parts[kinds[0]] == "examples" and len(parts) > kinds[0] + 2:
                    own = ROOT.joinpath(*parts[: kinds[0] + 2])
                target = (file.parent / found[1]).resolve()
                if not target.is_relative_to(own.resolve()):
                    yield f"{shown(file)}:{number}: #[path] of {shown(target)}"


def main_files():
    for file in sources("main.rs"):
        lines = len(file.read_text().splitlines())
        if "examples" in file.parts and lines > MAIN_LINES:
            yield f"{shown(file)}: {lines} lines, more than {MAIN_LINES}"


def wide_lines():
    for file in sources(".rs"):
        for number, line in enumerate(file.read_text().splitlines(), 1):
            comment = re.search(r"(?:^|\s)//[/!]? ?(.*)$", line)
            if len(line) > COLUMNS and comment and "://" not in line and "|" != comment[1][:1]:
                if re.match(r"\s*//", line) or not re.search(r'"[^"]*//', line):
                    yield f"{shown(file)}:{number}: {len(line)} columns"
    for file in sources(".md"):
        code = False
        for number, line in enumerate(file.read_text().splitlines(), 1):
            if line.lstrip().startswith("```"):
                code = not code
            prose = not code and not line.lstrip().startswith("|")
            # A link cannot be wrapped within its address.
            text = re.sub(r"\]\([^)]*\)", "]", line)
            if prose and len(text) > COLUMNS and "://" not in text:
                yield f"{shown(file)}:{number}: {len(line)} columns"


def main():
    arguments = sys.argv[1:]
    if unknown := [word for word in arguments if word not in ("--strict", "--list")]:
        sys.exit(f"check-house.py: unknown option {unknown[0]}\n{__doc__}")
    errors = 0
    for check in (circles, paths, main_files):
        for finding in check():
            print(finding)
            errors += 1
    wide = list(wide_lines())
    if "--list" in arguments:
        print("\n".join(wide))
    rust = sum(".rs:" in place for place in wide)
    print(f"{errors} errors; over {COLUMNS} columns: {rust} comments, {len(wide) - rust} lines of prose")
    sys.exit(1 if errors or (wide and "--strict" in arguments) else 0)


if __name__ == "__main__":
    main()
