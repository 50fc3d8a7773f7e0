"""Translates the ONNX files of `export` and of conv_model.py to ncnn's two files. Needs onnx."""

import struct
from collections import Counter

import numpy
from failure import Failure
from onnx import helper, numpy_helper

INPUT, OUTPUT = "images", "result"
# Nodes that ncnn needs no layer for: its maps of one pixel are vectors already.
NOTHING = ("Flatten", "Identity")


class Writer:
    """Layers as lines of text, and their weights in the same order."""

    def __init__(self, model):
        self.graph = model.graph
        self.tensors = {t.name: numpy_helper.to_array(t) for t in self.graph.initializer}
        self.lines, self.weights, self.blobs = [], [], 0
        self.alias, self.copies = {}, {}
        self.readers = Counter(name for node in self.graph.node for name in node.input)

    def layer(self, kind, name, inputs, output, **parameters):
        inputs = [self.take(blob) for blob in inputs]
        self.add(kind, name, inputs, [output], parameters)
        if (readers := self.readers[output]) > 1:
            # Each reader gets a blob of its own.
            copies = [f"{output}_{number}" for number in range(readers)]
            self.add("Split", f"{output}_split", [output], copies, {})
            self.copies[output] = copies

    def add(self, kind, name, inputs, outputs, parameters):
        counts = f"{len(inputs)} {len(outputs)}"
        blobs = " ".join([*inputs, *outputs])
        text = " ".join(f"{key[1:]}={value}" for key, value in parameters.items())
        self.lines.append(f"{kind} {name} {counts} {blobs} {text}".rstrip())
        self.blobs += len(outputs)

    def take(self, name):
        name = self.alias.get(name, name)
        return self.copies[name].pop() if self.copies.get(name) else name

    def store(self, values, tagged=False):
        """A tag, that of f32, is before weights of convolutions and linear layers."""
        tag = struct.pack("<I", 0) if tagged else b""
        self.weights.append(tag + numpy.ascontiguousarray(values, "<f4").tobytes())

    def node(self, node, fused):
        settings = {a.name: helper.get_attribute_value(a) for a in node.attribute}
        tensors = [self.tensors[name] for name in node.input if name in self.tensors]
        inputs = [name for name in node.input if name not in self.tensors]
        output = fused.output[0] if fused else node.output[0]
        kind, name = node.op_type, node.name or output
        if kind in NOTHING:
            self.alias[output] = self.alias.get(inputs[0], inputs[0])
        elif kind == "Conv":
            weight, bias = tensors[0], tensors[1:]
            (stride, _), pad = settings.get("strides", [1, 1]), settings["pads"][0]
            size = {"_0": weight.shape[0], "_1": weight.shape[2], "_3": stride, "_4": pad}
            about = {"_5": len(bias), "_6": weight.size, "_9": int(fused is not None)}
            self.layer("Convolution", name, inputs, output, **size, **about)
            self.store(weight, tagged=True)
            for values in bias:
                self.store(values)
        elif kind == "BatchNormalization":
            scale, shift, mean, variance = tensors
            epsilon = settings.get("epsilon", 1e-5)
            self.layer("BatchNorm", name, inputs, output, _0=scale.size, _1=epsilon)
            for values in (scale, mean, variance, shift):
                self.store(values)
        elif kind == "Relu":
            self.layer("ReLU", name, inputs, output)
        elif kind == "Add":
            self.layer("BinaryOp", name, inputs, output, _0=0)
        elif kind == "GlobalAveragePool":
            self.layer("Pooling", name, inputs, output, _0=1, _4=1)
        elif kind == "Gemm" and settings.get("transB") == 1:
            weight, bias = tensors
            about = {"_0": weight.shape[0], "_1": 1, "_2": weight.size}
            self.layer("InnerProduct", name, inputs, output, **about)
            self.store(weight, tagged=True)
            self.store(bias)
        else:
            raise Failure(f"the translation to ncnn lacks the op {kind}")

    def fused_relu(self, at):
        """The ReLU that alone reads the convolution `at`, as ncnn's own converter fuses it."""
        node = self.graph.node[at]
        if node.op_type != "Conv" or self.readers[node.output[0]] != 1:
            return None
        return next(
            (n for n in self.graph.node if n.op_type == "Relu" and n.input[0] == node.output[0]),
            None,
        )


def write_ncnn(model, image_shape, param, weights):
    """Maps `images` of (C, H, W) to `result`."""
    writer = Writer(model)
    channels, height, width = image_shape
    writer.layer("Input", INPUT, [], INPUT, _0=width, _1=height, _2=channels)
    skipped = set()
    for at, node in enumerate(writer.graph.node):
        if node.output[0] not in skipped:
            fused = writer.fused_relu(at)
            writer.node(node, fused)
            skipped |= set(fused.output) if fused else set()
    last = writer.graph.output[0].name
    writer.add("Noop", "result", [writer.take(last)], [OUTPUT], {})
    counts = f"{len(writer.lines)} {writer.blobs}"
    param.write_text("\n".join(["7767517", counts, *writer.lines]) + "\n")
    weights.write_bytes(b"".join(writer.weights))
