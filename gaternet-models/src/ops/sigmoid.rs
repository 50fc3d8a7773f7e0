//! `1 / (1 + exp(-x))`.

use gaternet_core::ops::{self, Active};
use gaternet_core::{Ctx, Result, Tensor};
use gaternet_kernels::cpu::sigmoid;

#[cfg(feature = "cuda")]
use crate::cuda::{self, CudaStep};
#[cfg(feature = "onnx")]
use crate::onnx::OnnxStep;
use crate::ops::op::Op;
use crate::plan::{Inputs, PlanContext, Planned, SampleKernel};

#[derive(Debug, Clone, Copy)]
pub(crate) struct Sigmoid;

struct Kernel;

impl Op for Sigmoid {
    fn name(&self) -> &str {
        "sigmoid"
    }

    fn shape(&self, inputs: &[[usize; 3]]) -> Result<[usize; 3]> {
        Ok(inputs[0])
    }

    fn forward(&self, inputs: &[&Tensor], _: &Active, _: &mut Ctx) -> Result<Tensor> {
        ops::sigmoid(inputs[0])
    }

    fn plan(&self, _: &mut PlanContext<'_>) -> Result<Planned> {
        Ok(Planned::each_sample(Kernel))
    }

    #[cfg(feature = "cuda")]
    fn cuda(&self, step: &mut CudaStep<'_>) -> cuda::Result<cuda::Value> {
        match step.inputs[0] {
            cuda::Value::Row(x) => Ok(cuda::Value::Row(step.emit.sigmoid(x))),
            _ => step.refuse("the sigmoid of maps"),
        }
    }

    #[cfg(feature = "onnx")]
    fn onnx(&self, step: &mut OnnxStep<'_>) -> Result<String> {
        let x = step.input(0);
        Ok(step.node("Sigmoid", [x], []))
    }
}

impl SampleKernel for Kernel {
    fn run(&self, inputs: Inputs<'_>, _: Option<&[u32]>, output: &mut [f32]) -> Result<()> {
        Ok(sigmoid::forward(inputs.get(0), output)?)
    }
}
