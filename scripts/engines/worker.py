"""Measures one cell in one engine; a process of its own, so that no other pool is awake.

    python worker.py '{"engine": "ncnn", "layer": "64x64@8k3", "batch": 1, "threads": 2, "run": 1}'

"run" is in seconds. In place of "layer" may be "network", the path of an ONNX file, with "logits",
or "training". The last line of stdout is a JSON object, with the seconds of a call; what went
wrong is the last line of stderr.
"""

import importlib
import json
import sys

import numpy
from failure import Failure
from layers import named
from timing import median_seconds


def layer_case(name, batch):
    """The model, its images, and what its output for the first image must be."""
    from conv_model import conv_model, first_output, noise

    layer = named(name)
    images = noise((batch, layer.channels, layer.side, layer.side), 2)
    return conv_model(layer, batch), images, first_output(layer, images[0])


def network_case(path, batch):
    """The model and its images."""
    from conv_model import noise
    from network_model import SIDE, network_model

    return network_model(path, batch), noise((batch, 3, SIDE, SIDE), 2)


def check(output, expected):
    """Raises if the first image has other values than it must have."""
    expected = numpy.asarray(expected)
    first = numpy.asarray(output)[0].reshape(expected.shape)
    error = numpy.abs(first - expected).max() / numpy.abs(expected).max()
    # Also refuses NaN. What Winograd's algorithm rounds is a hundred times smaller.
    if not error < 1e-2:
        raise Failure(f"wrong values: off by {error:.2g} of the largest")


def measure(request):
    batch, threads, run = request["batch"], request["threads"], request["run"]
    engine = request["engine"]
    if "training" in request:
        module = importlib.import_module(f"training_{engine}")
        session = importlib.import_module(f"session_{engine}").Session
        seconds = median_seconds(module.training_step(batch, threads), run)
    else:
        if "layer" in request:
            model, images, expected = layer_case(request["layer"], batch)
        else:
            model, images = network_case(request["network"], batch)
            expected = request["logits"]
        session = importlib.import_module(f"session_{engine}").Session(model, images, threads)
        seconds = median_seconds(session.run, run)
        check(session.output(), expected)
    return {
        "seconds": seconds,
        "name": session.name,
        "version": session.version,
        "instruction_set": session.instruction_set,
    }


def main():
    try:
        print("\n" + json.dumps(measure(json.loads(sys.argv[1]))))
    except Exception as error:  # An engine may raise anything.
        text = str(error).strip().splitlines() or [""]
        kind = "" if isinstance(error, Failure) else f"{type(error).__name__}: "
        sys.exit(f"{kind}{text[0]}")


if __name__ == "__main__":
    main()
