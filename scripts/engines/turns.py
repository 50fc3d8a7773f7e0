"""Measurements in turns: round by round, each round in the opposite order of the one before."""

import statistics
import sys

from failure import Failure


def order(names, number):
    """The names in the order of round `number`, counted from 0."""
    return list(names) if number % 2 == 0 else list(reversed(names))


class Turns:
    """The values of each contestant in each cell. What fails in a cell is not tried there again."""

    def __init__(self, rounds, keep=lambda row: None):
        self.rounds, self.keep = rounds, keep
        self.rows = {}
        self.failed = set()

    def run(self, cells, contestants):
        """`contestants` are functions by name, of a cell to a dictionary of values."""
        for number in range(self.rounds):
            for cell in cells:
                for name in order(contestants, number):
                    if (cell, name) not in self.failed:
                        self.take(number, cell, name, contestants[name])

    def take(self, number, cell, name, measure):
        try:
            values = measure(cell)
        except Failure as failure:
            self.failed.add((cell, name))
            print(f"{cell}: {name}: {failure}", file=sys.stderr)
            return
        shown = ", ".join(f"{quantity} {value:.4g}" for quantity, value in values.items())
        print(f"round {number + 1} of {self.rounds}, {cell}: {name}: {shown}", file=sys.stderr)
        self.rows.setdefault((cell, name), []).append(values)
        self.keep({**cell._asdict(), "program": name, "round": number + 1, **values})

    def median(self, cell, name, quantity="rate"):
        """None if a round of it failed, or none was run."""
        if (cell, name) in self.failed:
            return None
        values = [row[quantity] for row in self.rows.get((cell, name), []) if quantity in row]
        return statistics.median(values) if values else None
