//! Feature maps (N, C, H, W) times factors (N, C), as in squeeze-and-excitation.

use gaternet_core::ops::{self, Active};
use gaternet_core::{Ctx, Error, Result, Tensor};
use gaternet_kernels::cpu::gate;
use gaternet_kernels::{Isa, PlaneDims};

#[cfg(feature = "cuda")]
use crate::cuda::{self, CudaStep, Factors};
#[cfg(feature = "onnx")]
use crate::onnx::OnnxStep;
use crate::ops::op::Op;
use crate::plan::{Inputs, PlanContext, Planned, SampleKernel};

#[derive(Debug, Clone, Copy)]
pub(crate) struct ScaleChannels;

struct Kernel {
    isa: Isa,
    dims: PlaneDims,
}

impl Op for ScaleChannels {
    fn name(&self) -> &str {
        "scaling of channels"
    }

    fn shape(&self, inputs: &[[usize; 3]]) -> Result<[usize; 3]> {
        let factors = [inputs[0][0], 1, 1];
        if inputs[1] == factors {
            return Ok(inputs[0]);
        }
        let rule = "the factors must be (N, C)";
        let got = format!("{:?}, not {factors:?}", inputs[1]);
        Err(Error::Shape { op: "scale_channels", rule, got })
    }

    fn forward(&self, inputs: &[&Tensor], _: &Active, _: &mut Ctx) -> Result<Tensor> {
        ops::gate(inputs[0], inputs[1])
    }

    fn plan(&self, at: &mut PlanContext<'_>) -> Result<Planned> {
        let [channels, h, w] = at.inputs()[0];
        let dims = PlaneDims { batch: 1, channels, plane: h * w };
        Ok(Planned::each_sample(Kernel { isa: at.isa(), dims }))
    }

    #[cfg(feature = "cuda")]
    fn cuda(&self, step: &mut CudaStep<'_>) -> cuda::Result<cuda::Value> {
        let (cuda::Value::Map(x), cuda::Value::Row(factors)) = (step.inputs[0], step.inputs[1])
        else {
            return step.refuse("the scaling of vectors");
        };
        let factors = Some(Factors::Row(factors));
        Ok(cuda::Value::Map(step.emit.apply(x, step.shapes[0], factors, None, false)?))
    }

    #[cfg(feature = "onnx")]
    fn onnx(&self, step: &mut OnnxStep<'_>) -> Result<String> {
        let factors = step.planes("factors", step.input(1));
        let x = step.input(0);
        Ok(step.node("Mul", [x, factors], []))
    }
}

impl SampleKernel for Kernel {
    fn run(&self, inputs: Inputs<'_>, _: Option<&[u32]>, output: &mut [f32]) -> Result<()> {
        Ok(gate::forward(self.isa, self.dims, inputs.get(0), inputs.get(1), output)?)
    }
}
