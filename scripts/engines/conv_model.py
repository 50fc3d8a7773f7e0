"""A convolution as ONNX, and what it must compute. Needs numpy and onnx."""

import numpy
from onnx import TensorProto, helper, numpy_helper


def noise(shape, seed, scale=1.0):
    values = numpy.random.default_rng(seed).standard_normal(shape, dtype=numpy.float32)
    return values * numpy.float32(scale)


def weights(layer):
    inputs = layer.channels * layer.kernel**2
    shape = (layer.filters, layer.channels, layer.kernel, layer.kernel)
    return noise(shape, 1, (2 / inputs) ** 0.5)


def conv_model(layer, batch):
    """Images `images` to maps `maps`, for this batch size only."""

    def maps(name, channels):
        shape = [batch, channels, layer.side, layer.side]
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)

    kernel, pad = [layer.kernel] * 2, [layer.kernel // 2] * 4
    conv = helper.make_node(
        "Conv", ["images", "weight"], ["maps"], "conv", kernel_shape=kernel, pads=pad
    )
    graph = helper.make_graph(
        [conv],
        str(layer),
        [maps("images", layer.channels)],
        [maps("maps", layer.filters)],
        [numpy_helper.from_array(weights(layer), "weight")],
    )
    opset = helper.make_opsetid("", 17)
    return helper.make_model(graph, opset_imports=[opset], ir_version=8)


def first_output(layer, image):
    """The maps of one image (C, H, W), as a product of matrices."""
    pad, kernel = layer.kernel // 2, layer.kernel
    padded = numpy.pad(image, ((0, 0), (pad, pad), (pad, pad)))
    windows = numpy.lib.stride_tricks.sliding_window_view(padded, (kernel, kernel), (1, 2))
    columns = windows.transpose(0, 3, 4, 1, 2).reshape(-1, layer.side**2)
    product = weights(layer).reshape(layer.filters, -1) @ columns
    return product.reshape(layer.filters, layer.side, layer.side)
