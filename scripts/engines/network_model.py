"""A network of our `export`, for one batch size. Needs onnx."""

import math

import onnx

SIDE = 32


def network_model(path, batch):
    """The model with the names of its sizes replaced by numbers."""
    model = onnx.load(path)
    sizes = {"batch": batch, "height": SIDE, "width": SIDE}
    for value in [*model.graph.input, *model.graph.output]:
        for dimension in value.type.tensor_type.shape.dim:
            if dimension.dim_param:
                dimension.dim_value = sizes[dimension.dim_param]
    return model


def macs_and_weights(path):
    """Multiply-accumulates of an image in convolutions and linear layers, and all weights."""
    model = onnx.shape_inference.infer_shapes(network_model(path, 1))
    graph = model.graph
    dims = {tensor.name: list(tensor.dims) for tensor in graph.initializer}
    maps = {
        value.name: [dimension.dim_value for dimension in value.type.tensor_type.shape.dim]
        for value in [*graph.value_info, *graph.output]
    }
    macs = 0
    for node in graph.node:
        if node.op_type in ("Conv", "Gemm"):
            pixels = math.prod(maps[node.output[0]][2:])
            macs += pixels * math.prod(dims[node.input[1]])
    return macs, sum(math.prod(shape) for shape in dims.values())
