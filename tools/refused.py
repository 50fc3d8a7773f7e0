"""What is wrong with the input of a program, for its user."""

SHOWN = 10


class Refused(Exception):
    """A sentence or more, to be printed instead of a traceback."""


def listed(lines) -> str:
    """A line for each, indented; beyond ten their number."""
    lines = list(lines)
    more = [f"and {len(lines) - SHOWN} more"] if len(lines) > SHOWN else []
    return "".join(f"\n    {line}" for line in lines[:SHOWN] + more)
