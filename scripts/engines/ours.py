"""Measures our programs, as a user would run them."""

import json
import tempfile
from pathlib import Path

from cell import TRAINED_BATCH
from failure import Failure
from layers import named
from processes import objects

# Filters of blocks' inner convolutions, half of their gates open; a gater that costs little.
GATES = [
    *("--gating", "dense", "skipped", "--placement", "inner", "--density", "0.5"),
    *("--filters-per-gate", "16", "--gater-depth", "8", "--gater-pool", "2"),
]


class Ours:
    """A contestant of `Turns`."""

    def __init__(self, programs, args, variables):
        self.programs, self.args, self.variables = programs, args, variables

    def __call__(self, cell):
        measure = {"layers": self.layer, "networks": self.network, "training": self.training}
        return measure[cell.kind](cell)

    def rows(self, program, words, variables=None):
        """One input is read again and again, as the engines do."""
        command = [self.programs[program], *words]
        return objects(command, {**self.variables, **(variables or {})}, self.args.limit)

    def usual(self, cell):
        args = self.args
        return ["--json", "--batch", cell.batch, "--threads", args.threads, "--run", args.run]

    def layer(self, cell):
        words = [*self.usual(cell), "--filter", cell.name, "--rotate", "0"]
        return layer_rates(self.rows("conv_throughput", words), named(cell.name))

    def network(self, cell):
        words = [*self.usual(cell), "--model", cell.name, *GATES]
        rows = {row["gating"]: row for row in self.rows("model_throughput", words)}
        plain, gated = rows["dense"], rows["skipped"]
        return {
            "rate": plain["images_per_second"],
            "gated": gated["images_per_second"],
            "macs_ratio": gated["macs_ratio"],
        }

    def training(self, cell):
        with tempfile.TemporaryDirectory() as home:
            variables = {"RAYON_NUM_THREADS": str(self.args.threads), "CRITERION_HOME": home}
            self.rows("train_step", ["--bench"], variables)
            return training_rates(Path(home))


def layer_rates(rows, layer):
    """10^9 operations of the dense layer a second: all filters, and half of them."""
    # --filter goes by parts of names, so rows of another layer may be among them.
    size = {"ci": layer.channels, "co": layer.filters, "h": layer.side, "k": layer.kernel}
    rates = {
        (row["gating"], row["density"]): row["gflops"]
        for row in rows
        if size.items() <= row.items()
    }
    return {"rate": rates["none", 1.0], "gated": rates["output", 0.5]}


def training_rates(home):
    """Images a second, of what criterion keeps of a run."""
    rates = {}
    for file in home.glob("*/*/*/new/estimates.json"):
        seconds = json.loads(file.read_text())["median"]["point_estimate"] / 1e9
        rates[file.parts[-4]] = TRAINED_BATCH / seconds
    if rates.keys() != {"plain", "gated"}:
        raise Failure(f"criterion kept {', '.join(rates) or 'nothing'} of train_step")
    return {"rate": rates["plain"], "gated": rates["gated"]}
