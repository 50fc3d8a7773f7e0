"""ONNX Runtime."""

import numpy
import onnxruntime


class Session:
    """A model with its input bound, so that a run copies nothing."""

    name = "ONNX Runtime"
    version = onnxruntime.__version__
    instruction_set = None

    def __init__(self, model, images, threads):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        self.session = onnxruntime.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
        self.images = onnxruntime.OrtValue.ortvalue_from_numpy(images)
        self.binding = self.session.io_binding()
        self.binding.bind_ortvalue_input(self.session.get_inputs()[0].name, self.images)
        self.binding.bind_output(self.session.get_outputs()[0].name)

    def run(self):
        self.session.run_with_iobinding(self.binding)

    def output(self):
        return numpy.asarray(self.binding.copy_outputs_to_cpu()[0])
