"""PyTorch, whose convolutions are oneDNN's, in f32 and channels last. Needs onnx too."""

import torch
import torch.nn.functional as F
from failure import Failure
from onnx import helper, numpy_helper


class Session:
    """The nodes of a model, run one after the other."""

    name = "PyTorch (oneDNN)"
    version = torch.__version__
    instruction_set = torch.backends.cpu.get_cpu_capability()

    def __init__(self, model, images, threads):
        torch.set_num_threads(threads)
        tensors = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
        self.tensors = {name: last(torch.from_numpy(t.copy())) for name, t in tensors.items()}
        self.tensors[model.graph.input[0].name] = last(torch.from_numpy(images))
        self.nodes = [read(node) for node in model.graph.node]
        self.result = model.graph.output[0].name
        self.maps = None

    def run(self):
        values = dict(self.tensors)
        with torch.inference_mode():
            for kind, inputs, output, settings in self.nodes:
                values[output] = apply(kind, [values[name] for name in inputs], settings)
        self.maps = values[self.result]

    def output(self):
        return self.maps.numpy()


def last(tensor):
    return tensor.contiguous(memory_format=torch.channels_last) if tensor.dim() == 4 else tensor


def read(node):
    settings = {a.name: helper.get_attribute_value(a) for a in node.attribute}
    return node.op_type, list(node.input), node.output[0], settings


def apply(kind, values, settings):
    x = values[0]
    if kind == "Conv":
        bias = values[2] if len(values) > 2 else None
        stride, pads = settings.get("strides", [1, 1]), settings["pads"][:2]
        return F.conv2d(x, values[1], bias, list(stride), list(pads))
    if kind == "BatchNormalization":
        scale, shift, mean, variance = values[1:]
        return F.batch_norm(x, mean, variance, scale, shift, eps=settings.get("epsilon", 1e-5))
    if kind == "Relu":
        return F.relu(x)
    if kind == "Add":
        return x + values[1]
    if kind == "GlobalAveragePool":
        return x.mean((2, 3), keepdim=True)
    if kind == "Flatten":
        return x.flatten(1)
    if kind == "Identity":
        return x
    if kind == "Gemm" and settings.get("transB") == 1:
        return F.linear(x, values[1], values[2])
    raise Failure(f"the translation to PyTorch lacks the op {kind}")
