"""What is wrong with the input of a program, or goes otherwise than its user may think."""

import sys

SHOWN = 10


class Refused(Exception):
    """A sentence or more, to be printed instead of a traceback."""


class NoNetwork(ValueError):
    """Why tensors or a configuration are those of no network of the library."""


def listed(lines) -> str:
    """A line for each, indented; beyond ten their number."""
    lines = list(lines)
    more = [f"and {len(lines) - SHOWN} more"] if len(lines) > SHOWN else []
    return "".join(f"\n    {line}" for line in lines[:SHOWN] + more)


def note(text: str) -> None:
    """Something that the user should know and that is no error."""
    print(f"note: {text}", file=sys.stderr)
