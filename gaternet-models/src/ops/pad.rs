//! Padding and cropping: zeros around each feature map, or a border cut off it.

use gaternet_core::ops::{self, Active};
use gaternet_core::{Ctx, Result, Tensor};
use gaternet_kernels::PadDims;
use gaternet_kernels::cpu::pad;

#[cfg(feature = "cuda")]
use crate::cuda::{self, CudaStep, MapLayer};
#[cfg(feature = "onnx")]
use crate::onnx::OnnxStep;
use crate::ops::op::Op;
use crate::plan::{Inputs, PlanContext, Planned, SampleKernel};

/// Padding on the left, right, top and bottom; negative numbers crop.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pad(pub(crate) [isize; 4]);

struct Kernel(PadDims);

impl Op for Pad {
    fn name(&self) -> &str {
        "padding"
    }

    fn shape(&self, inputs: &[[usize; 3]]) -> Result<[usize; 3]> {
        let [channels, h, w] = inputs[0];
        let [oh, ow] = PadDims::new(channels, [h, w], self.0)?.out_size();
        Ok([channels, oh, ow])
    }

    fn forward(&self, inputs: &[&Tensor], _: &Active, _: &mut Ctx) -> Result<Tensor> {
        ops::pad(inputs[0], self.0)
    }

    fn plan(&self, at: &mut PlanContext<'_>) -> Result<Planned> {
        let [channels, h, w] = at.inputs()[0];
        Ok(Planned::each_sample(Kernel(PadDims::new(channels, [h, w], self.0)?)))
    }

    #[cfg(feature = "cuda")]
    fn cuda(&self, step: &mut CudaStep<'_>) -> cuda::Result<cuda::Value> {
        let [channels, h, w] = step.shapes[0];
        let dims = PadDims::new(step.batch() * channels, [h, w], self.0)?;
        step.map(MapLayer::Pad(dims), self.name())
    }

    #[cfg(feature = "onnx")]
    fn onnx(&self, step: &mut OnnxStep<'_>) -> Result<String> {
        let [left, right, top, bottom] = self.0;
        let pads = [0, 0, top, left, 0, 0, bottom, right].map(|pad| pad as i64);
        let pads = step.ints("pads", &pads);
        let x = step.input(0);
        Ok(step.node("Pad", [x, pads], []))
    }
}

impl SampleKernel for Kernel {
    fn run(&self, inputs: Inputs<'_>, _: Option<&[u32]>, output: &mut [f32]) -> Result<()> {
        Ok(pad::forward(&self.0, inputs.get(0), output)?)
    }
}
