"""What ends a measurement with one clear line."""


class Failure(Exception):
    """Its text is one line, for stderr."""


def last_line(text, otherwise):
    """The last line of a program's stderr that says something."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1][:300] if lines else otherwise
