//! The identity: the op of steps that are a batch norm, a sum or a ReLU alone.

use gaternet_core::ops::Active;
use gaternet_core::{Ctx, Result, Tensor};

#[cfg(feature = "cuda")]
use crate::cuda::{self, CudaStep};
#[cfg(feature = "onnx")]
use crate::onnx::OnnxStep;
use crate::ops::norm_kernel::NormKernel;
use crate::ops::op::Op;
use crate::plan::{Inputs, PlanContext, Planned, SampleKernel};

#[derive(Debug, Clone, Copy)]
pub(crate) struct Identity;

struct Copy;

impl Op for Identity {
    fn name(&self) -> &str {
        "sum"
    }

    fn shape(&self, inputs: &[[usize; 3]]) -> Result<[usize; 3]> {
        Ok(inputs[0])
    }

    fn forward(&self, inputs: &[&Tensor], _: &Active, _: &mut Ctx) -> Result<Tensor> {
        Ok(inputs[0].clone())
    }

    fn plan(&self, at: &mut PlanContext<'_>) -> Result<Planned> {
        let [_, h, w] = at.inputs()[0];
        Ok(match at.take_norm() {
            Some(norm) => Planned::batch(NormKernel::new(norm, h * w)),
            None => Planned::each_sample(Copy),
        })
    }

    #[cfg(feature = "cuda")]
    fn cuda(&self, step: &mut CudaStep<'_>) -> cuda::Result<cuda::Value> {
        Ok(step.inputs[0])
    }

    #[cfg(feature = "onnx")]
    fn onnx(&self, step: &mut OnnxStep<'_>) -> Result<String> {
        Ok(step.input(0))
    }
}

impl SampleKernel for Copy {
    fn run(&self, inputs: Inputs<'_>, _: Option<&[u32]>, output: &mut [f32]) -> Result<()> {
        output.copy_from_slice(inputs.get(0));
        Ok(())
    }
}
