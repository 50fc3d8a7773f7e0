"""The networks that the engines run: ours, in files of `export`."""

import shutil
from pathlib import Path
from typing import NamedTuple

from failure import Failure
from processes import objects

# Enough steps that the statistics of batch norm keep activations from growing block by block.
TRAINING = ["--dense", "--epochs", "1", "--batch-size", "4", "--train-images", "64"]
TRAINING += ["--test-images", "4", "--lr", "0.001"]
FACTS = Path(__file__).parent / "network_facts.py"


class Exported(NamedTuple):
    """An ONNX file and what is known of it."""

    path: Path
    # Multiply-accumulates of an image.
    macs: int
    weights: int
    # What every engine must answer to the first image.
    logits: list


def export(name, programs, python, folder, args):
    """Weights are hardly trained: time does not depend on them. A file that is newer than the
    programs is taken as it is."""
    folder.mkdir(parents=True, exist_ok=True)
    path, run = folder / f"{name}.onnx", folder / f"{name}-run"
    train, write = Path(programs["train_cifar"]), Path(programs["export"])
    threads = ["--threads", args.threads]
    try:
        if not newer(path, [train, write]):
            shutil.rmtree(run, ignore_errors=True)
            words = ["--model", name, *TRAINING, *threads, "--out", run]
            objects([train, *words], {}, args.limit)
            words = ["--checkpoint", run / "model.safetensors", "--out", path]
            objects([write, *words, *threads], {}, args.limit)
            shutil.rmtree(run)
        facts = objects([python, FACTS, path], {}, args.limit)[-1]
    except Failure as failure:
        raise Failure(f"{name} cannot be exported: {failure}") from None
    return Exported(path, **facts)


def newer(path, programs):
    made = path.stat().st_mtime if path.exists() else 0
    return all(program.stat().st_mtime < made for program in programs)
