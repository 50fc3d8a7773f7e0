"""The convolutions that are measured: those of conv_throughput."""

import re
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "src/cli/conv_layers.rs"


class Layer(NamedTuple):
    """Stride 1, padded to keep the side of the map."""

    channels: int
    filters: int
    side: int
    kernel: int

    def __str__(self):
        return f"{self.channels}x{self.filters}@{self.side}k{self.kernel}"


def read_layers(source=SOURCE):
    """The constant LAYERS of the Rust source, so that there is one list only."""
    text = source.read_text()
    start = text.index("LAYERS: [")
    table = text[start : text.index("];", start)]
    numbers = re.findall(r"layer\((\d+), (\d+), (\d+), (\d+)\)", table)
    return [Layer(*map(int, row)) for row in numbers]


def named(name):
    """The layer that `str` writes as `name`."""
    return Layer(*map(int, re.fullmatch(r"(\d+)x(\d+)@(\d+)k(\d+)", name).groups()))
