"""OpenVINO, in f32: by itself it computes in bf16 where the processor can."""

import numpy
import openvino


class Session:
    """A model as one stream of all threads."""

    name = "OpenVINO"
    version = openvino.__version__.split("-")[0]

    def __init__(self, model, images, threads):
        core = openvino.Core()
        options = {
            "INFERENCE_NUM_THREADS": threads,
            "INFERENCE_PRECISION_HINT": "f32",
            "NUM_STREAMS": 1,
            "PERFORMANCE_HINT": "LATENCY",
        }
        read = core.read_model(model.SerializeToString())
        self.compiled = core.compile_model(read, "CPU", options)
        self.images = images
        self.request = self.compiled.create_infer_request()
        self.request.set_input_tensor(openvino.Tensor(images, shared_memory=True))

    @property
    def instruction_set(self):
        """The kernels of its convolutions, such as brgconv_avx512_f32."""
        kernels = set()
        for op in self.compiled.get_runtime_model().get_ordered_ops():
            about = op.get_rt_info()
            if str(about["layerType"].value) == "Convolution":
                kernels.add(str(about["primitiveType"].value))
        return ", ".join(sorted(kernels)) or None

    def run(self):
        self.request.infer()

    def output(self):
        return numpy.array(self.request.get_output_tensor().data)
