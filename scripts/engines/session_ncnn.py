"""ncnn, with its Winograd, in f32. It takes one image at a time."""

import importlib.metadata
import tempfile
from pathlib import Path

import ncnn
import numpy
from failure import Failure
from ncnn_model import INPUT, OUTPUT, write_ncnn


class Session:
    """A model translated to ncnn's files."""

    name = "ncnn"
    version = importlib.metadata.version("ncnn")
    instruction_set = None

    def __init__(self, model, images, threads):
        self.net = ncnn.Net()
        options = self.net.opt
        options.num_threads = threads
        options.use_fp16_arithmetic = options.use_fp16_storage = options.use_fp16_packed = False
        options.use_bf16_storage = False
        with tempfile.TemporaryDirectory() as folder:
            param, weights = Path(folder) / "model.param", Path(folder) / "model.bin"
            write_ncnn(model, images.shape[1:], param, weights)
            if self.net.load_param(str(param)) or self.net.load_model(str(weights)):
                raise Failure("ncnn does not load the model")
        # They share the memory of the arrays, which must live as long. (A `clone` of one of a
        # temporary array holds garbage.)
        self.arrays = [numpy.ascontiguousarray(image) for image in images]
        self.images = [ncnn.Mat(array) for array in self.arrays]
        self.maps = []

    def run(self):
        self.maps = [self.extract(image) for image in self.images]

    def extract(self, image):
        extractor = self.net.create_extractor()
        extractor.input(INPUT, image)
        status, maps = extractor.extract(OUTPUT)
        if status:
            raise Failure(f"ncnn: status {status}")
        return maps

    def output(self):
        return numpy.stack([numpy.array(maps) for maps in self.maps])
