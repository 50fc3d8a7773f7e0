"""Measures an engine, in a process of its own."""

import json
from pathlib import Path

from cores import cores
from failure import Failure
from layers import named
from processes import objects
from roofline import layer_cost

WORKER = Path(__file__).parent / "worker.py"


class Theirs:
    """A contestant of `Turns`. Afterwards `about` has what the engine said of itself."""

    def __init__(self, engine, python, args, variables, networks):
        threads = str(args.threads)
        pools = {"OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads}
        if args.threads == cores():
            # As ours are: two threads on one core wait for each other by spinning.
            pools["OMP_PROC_BIND"] = "true"
        self.engine, self.python, self.args = engine, python, args
        self.variables, self.networks = {**variables, **pools}, networks
        self.about = {}

    def __call__(self, cell):
        request = {"engine": self.engine, "batch": cell.batch, "threads": self.args.threads}
        request["run"] = self.args.run / 1e3
        if cell.kind == "layers":
            request["layer"] = cell.name
        elif cell.kind == "networks":
            network = self.network(cell)
            request |= {"network": str(network.path), "logits": network.logits}
        else:
            request["training"] = cell.name
        command = [self.python, WORKER, json.dumps(request)]
        rows = objects(command, self.variables, self.args.limit)
        if not rows:
            raise Failure("it printed no result")
        answer = rows[-1]
        if answer["instruction_set"]:
            answer["instruction_set"] = merged(self.about, answer)
        self.about = answer
        if cell.kind == "layers":
            operations = layer_cost(named(cell.name), cell.batch).operations
            return {"rate": operations / answer["seconds"] / 1e9}
        return {"rate": cell.batch / answer["seconds"]}

    def network(self, cell):
        if cell.name not in self.networks:
            raise Failure("the network was not exported")
        return self.networks[cell.name]


def merged(before, now):
    """The kernels of all cells so far."""
    both = f"{before.get('instruction_set') or ''}, {now['instruction_set']}"
    return ", ".join(sorted({part for part in both.split(", ") if part}))
