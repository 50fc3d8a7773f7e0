"""A file that maps one's own names of layers to others: `--names`."""

import json
import pathlib
import re

from layouts import LEAVES
from refused import Refused, listed

HELP = """\
names of your own (--names FILE, TOML or JSON): a table of layers or tensors, tried in its order.
  "trunk.*" = "*"                                      * is any text, the same on both sides
  "blocks.{s}.{b}.c{n}" = "stage{s+1}.block{b+1}.conv{n}"    {s} is a number, here counted from 0
  "head" = "fc"                                        a layer: its weight, bias and statistics
  "*.gamma" = "*.weight"                               a tensor
  "criterion" = ""                                     is left out
The names on the left are those that errors show: without module., _orig_mod. and what all names
begin with. What no line is for keeps its name. All then must be of one of the layouts. A line that
is for no tensor is an error."""


def load(path: pathlib.Path):
    """A function that renames the tensors of a state dict."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise Refused(f"cannot read {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise Refused(f"{path}: is no text ({error.reason})") from error
    table = parse(path, text)
    flat = isinstance(table, dict) and all(isinstance(ours, str) for ours in table.values())
    if not flat or not table:
        raise Refused(f'{path}: must be a table of lines "their name" = "our name", all in quotes')
    rules = [Rule(path, theirs, ours) for theirs, ours in table.items()]

    def rename(state: dict) -> dict:
        out, origin = {}, {}
        for name, value in state.items():
            new = next((new for rule in rules if (new := rule.apply(name)) is not None), name)
            if new in out:
                raise Refused(f"{path}: {origin[new]} and {name} both become {new}")
            if new:
                out[new], origin[new] = value, name
        return out

    rename.rules = rules
    return rename


def parse(path: pathlib.Path, text: str):
    if path.suffix == ".json":
        try:
            return json.loads(text)
        except ValueError as error:
            raise Refused(f"{path}: is no JSON: {error}") from error
    try:
        import tomllib
    except ImportError as error:
        raise Refused(
            f"{path}: reading TOML needs Python 3.11; write the same table as JSON, in a .json file"
        ) from error
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise Refused(f"{path}: is no TOML: {error}") from error


class Rule:
    HOLE = re.compile(r"\*|\{([a-z]+)(?:([+-])(\d+))?\}")

    def __init__(self, path: pathlib.Path, theirs: str, ours: str):
        self.theirs, self.ours, self.used = theirs, ours, False
        self.pattern, known, at = "", set(), 0
        for hole in self.HOLE.finditer(theirs):
            self.pattern += re.escape(theirs[at : hole.start()])
            name, sign, _ = hole.groups()
            if sign:
                raise Refused(f"{path}: {theirs}: sums such as {hole[0]} belong on the right")
            self.pattern += (
                r"(.+)"
                if name is None
                else rf"(?P=n_{name})" if name in known else rf"(?P<n_{name}>\d+)"
            )
            known |= {name} - {None}
            at = hole.end()
        self.pattern += re.escape(theirs[at:])
        unknown = [hole[0] for hole in self.HOLE.finditer(ours) if hole[1] and hole[1] not in known]
        if unknown or (ours and ours.count("*") != theirs.count("*")):
            raise Refused(
                f'{path}: "{theirs}" = "{ours}": '
                f'{unknown[0] if unknown else "*"} is not on both sides'
            )

    def apply(self, name: str):
        """The new name; empty for one that is left out, None for one that is of no concern."""
        found = re.fullmatch(self.pattern, name)
        leaf = ""
        if not found:
            found = re.fullmatch(self.pattern + LEAVES, name)
            leaf = f".{found['leaf']}" if found else ""
        if not found:
            return None
        self.used = True
        if not self.ours:
            return ""
        stars = iter(self.stars(found))

        def fill(hole):
            word, sign, number = hole.groups()
            if word is None:
                return next(stars)
            return str(int(found[f"n_{word}"]) + int(f"{sign or '+'}{number or 0}"))

        return self.HOLE.sub(fill, self.ours) + leaf

    @staticmethod
    def stars(found):
        named = set(found.re.groupindex.values())
        return [text for group, text in enumerate(found.groups(), 1) if group not in named]


def check_used(path: pathlib.Path, rules, names) -> None:
    unused = [f'"{rule.theirs}"' for rule in rules if not rule.used]
    if unused:
        raise Refused(f"{path}: no tensor for{listed(unused)}\nThe file has{listed(names)}")
