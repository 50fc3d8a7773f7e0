"""MNN, with its Winograd."""

import importlib.metadata
import subprocess
import sys
import tempfile
from pathlib import Path

import MNN.expr
import MNN.nn
import numpy
from failure import Failure, last_line


class Session:
    """A model that MNN's converter has read."""

    name = "MNN"
    version = importlib.metadata.version("mnn")
    instruction_set = None

    def __init__(self, model, images, threads):
        runtime = MNN.nn.create_runtime_manager(
            ({"backend": "CPU", "precision": "high", "numThread": threads},)
        )
        names = [model.graph.input[0].name], [model.graph.output[0].name]
        with tempfile.TemporaryDirectory() as folder:
            path = convert(model, Path(folder))
            self.net = MNN.nn.load_module_from_file(str(path), *names, runtime_manager=runtime)
        self.images = MNN.expr.placeholder(list(images.shape), MNN.expr.NCHW)
        self.images.write(images)
        self.maps = None

    def run(self):
        maps = self.net.forward(self.images)
        # Nothing is computed before somebody reads.
        self.maps = (maps[0] if isinstance(maps, (list, tuple)) else maps).read()

    def output(self):
        return numpy.array(self.maps)


def convert(model, folder):
    source, target = folder / "model.onnx", folder / "model.mnn"
    source.write_bytes(model.SerializeToString())
    program = Path(sys.executable).parent / "mnnconvert"
    files = ["--modelFile", source, "--MNNModel", target]
    done = subprocess.run(
        [program, "-f", "ONNX", *files, "--bizCode", "engines"], capture_output=True, text=True
    )
    if not target.exists():
        raise Failure(f"mnnconvert: {last_line(done.stderr + done.stdout, 'no model')}")
    return target
