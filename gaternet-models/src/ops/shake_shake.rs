//! A mean of two branches, with random weights in training (Gastaldi 2017).

use gaternet_core::ops::{self, Active};
use gaternet_core::{Ctx, Error, Result, Tensor};
use gaternet_kernels::Isa;
use gaternet_kernels::cpu::elementwise;

#[cfg(feature = "cuda")]
use crate::cuda::{self, CudaStep, PairLayer};
#[cfg(feature = "onnx")]
use crate::onnx::OnnxStep;
use crate::ops::op::Op;
use crate::plan::{Inputs, PlanContext, Planned, SampleKernel};

#[derive(Debug, Clone, Copy)]
pub(crate) struct ShakeShake;

struct Kernel(Isa);

impl Op for ShakeShake {
    fn name(&self) -> &str {
        "Shake-Shake"
    }

    fn shape(&self, inputs: &[[usize; 3]]) -> Result<[usize; 3]> {
        if inputs[0] == inputs[1] {
            return Ok(inputs[0]);
        }
        let rule = "both branches must have one shape";
        let got = format!("{:?} and {:?}", inputs[0], inputs[1]);
        Err(Error::Shape { op: "shake_shake", rule, got })
    }

    fn forward(&self, inputs: &[&Tensor], _: &Active, ctx: &mut Ctx) -> Result<Tensor> {
        ops::shake_shake(inputs[0], inputs[1], ctx)
    }

    fn plan(&self, at: &mut PlanContext<'_>) -> Result<Planned> {
        Ok(Planned::each_sample(Kernel(at.isa())))
    }

    #[cfg(feature = "cuda")]
    fn cuda(&self, step: &mut CudaStep<'_>) -> cuda::Result<cuda::Value> {
        let (cuda::Value::Map(a), cuda::Value::Map(b)) = (step.inputs[0], step.inputs[1]) else {
            return step.refuse("Shake-Shake of vectors");
        };
        Ok(cuda::Value::Map(step.emit.pair(PairLayer::Mix, [a, b], step.shapes[0])))
    }

    #[cfg(feature = "onnx")]
    fn onnx(&self, step: &mut OnnxStep<'_>) -> Result<String> {
        let branches = step.inputs();
        let sum = step.part("sum", "Add", branches);
        let half = step.floats("half", &[], &[0.5]);
        Ok(step.node("Mul", [sum, half], []))
    }
}

impl SampleKernel for Kernel {
    fn run(&self, inputs: Inputs<'_>, _: Option<&[u32]>, output: &mut [f32]) -> Result<()> {
        elementwise::add(self.0, inputs.get(0), inputs.get(1), output)?;
        output.iter_mut().for_each(|y| *y *= 0.5);
        Ok(())
    }
}
