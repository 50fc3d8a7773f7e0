"""What a row of the tables is about."""

from typing import NamedTuple


class Cell(NamedTuple):
    """A layer, a network or the step of training, at a batch size."""

    kind: str
    name: str
    batch: int

    def __str__(self):
        return f"{self.name}, batch {self.batch}"


# The network of benches/train_step.rs and its images.
TRAINED, TRAINED_BATCH = "resnet20", 128


def cells(kind, args):
    """The rows of a table, in order."""
    if kind == "training":
        return [Cell(kind, TRAINED, TRAINED_BATCH)]
    names = args.layer if kind == "layers" else args.network
    return [Cell(kind, name, batch) for name in names for batch in args.batch]
