"""The command line."""

import argparse
import os
from pathlib import Path

from cores import cores
from layers import ROOT, read_layers

ENGINES = ["onnxruntime", "openvino", "mnn", "ncnn", "pytorch"]
NETWORKS = ["resnet20", "resnet56", "wrn28-10"]
KINDS = ["layers", "networks", "training"]

ABOUT = """\
Measures this library against other CPU inference engines and prints Markdown tables: our rate,
ours with half of the filters, each engine's, their ratios, and what the machine allows at most.

All compute in f32 with the same number of threads, in turns: round by round, each round in the
opposite order of the one before, each program in a process of its own. The tables hold medians
of the rounds. Only ratios of one run on an idle machine mean anything."""

EXAMPLES = """\
what is needed
  Python 3.11 or later with venv, cargo, and on the first run a connection to PyPI.

engines
  onnxruntime, openvino, mnn and ncnn are installed. pytorch, for oneDNN and for training, is not:
  PyPI's wheel for Linux holds gigabytes of CUDA. Name a Python that has torch, numpy and onnx
  with --python, and it is measured too.

examples
  scripts/compare-engines.sh                                  everything: more than an hour
  scripts/compare-engines.sh --what layers --layer 64x64@8k3 160x160@32k3 --batch 1 --rounds 3
  scripts/compare-engines.sh --what networks --network resnet56 --engine openvino mnn
  scripts/compare-engines.sh --isa avx2                       where there is AVX-512 as well
  scripts/compare-engines.sh --json rows.jsonl > tables.md    every measurement beside the tables
"""


class Parser(argparse.ArgumentParser):
    """Says what is wrong in one line."""

    def error(self, message):
        self.exit(2, f"compare-engines.sh: {message} (--help says more)\n")


def positive(text):
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text}: must be a whole number of at least 1")
    return int(text)


def parser():
    layers = [str(layer) for layer in read_layers()]
    threads = cores()
    target = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    parse = Parser(
        "compare-engines.sh",
        description=ABOUT,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    what = parse.add_argument_group("what is measured")
    several = {"nargs": "+", "metavar": "NAME"}
    what.add_argument(
        "--what", **several, choices=KINDS, default=KINDS, help="of layers, networks, training"
    )
    what.add_argument(
        "--engine", **several, choices=ENGINES, default=ENGINES, help=f"of {', '.join(ENGINES)}"
    )
    what.add_argument(
        "--layer",
        **several,
        choices=layers,
        default=layers,
        help="of those of conv_throughput, such as 64x64@8k3: channels x filters @ side of the "
        "map, k and the kernel's side",
    )
    what.add_argument(
        "--network", **several, choices=NETWORKS, default=NETWORKS, help=f"of {', '.join(NETWORKS)}"
    )
    what.add_argument(
        "--batch",
        nargs="+",
        type=positive,
        default=[1, 64],
        metavar="N",
        help="images of a call [1 64]; a step of training has 128",
    )
    how = parse.add_argument_group("how")
    how.add_argument(
        "--threads",
        type=positive,
        default=threads,
        metavar="N",
        help=f"of each program [{threads}]",
    )
    how.add_argument("--rounds", type=positive, default=5, metavar="N", help="of turns [5]")
    how.add_argument(
        "--run",
        type=positive,
        default=30,
        metavar="MS",
        help="each figure of a round is the median of 9 runs that take about so long [30]",
    )
    how.add_argument(
        "--isa",
        choices=["avx2", "avx512"],
        help="keeps ours, OpenVINO, PyTorch and the measured peak to this instruction set; the "
        "others cannot be restricted, and the tables say so [the best of this machine]",
    )
    how.add_argument(
        "--limit",
        type=positive,
        default=300,
        metavar="SECONDS",
        help="a measurement that takes longer is given up [300]",
    )
    files = parse.add_argument_group("files")
    files.add_argument(
        "--folder",
        type=Path,
        default=target / "engines",
        metavar="DIR",
        help="where the engines are, or are installed [target/engines]",
    )
    files.add_argument(
        "--python", metavar="PROGRAM", help="a Python with torch, numpy and onnx, for pytorch"
    )
    files.add_argument(
        "--programs",
        type=Path,
        metavar="DIR",
        help="take conv_throughput, model_throughput, train_cifar, export and train_step from "
        "here and build nothing",
    )
    files.add_argument(
        "--json", type=Path, metavar="FILE", help="write every measurement, an object a line"
    )
    return parse
